"""Programs that are right in unusual ways, and attacks on the harness itself; see hostile.py for the problem."""

# ruff: noqa: E501

from tests.worker.grade.hostile import _FORGE, _SYSCALL, WRONG

RIGHT = "[n * n, str(n)]"

WEIRD = {
    "numpy_integer": f"import numpy as np\ndef solve(n):\n    a, b = {RIGHT}\n    return [np.int64(a) if abs(a) < 10**9 else a, np.str_(b)]",
    "honest_subclasses": f"class I(int):\n    pass\nclass S(str):\n    pass\nclass L(list):\n    pass\ndef solve(n):\n    a, b = {RIGHT}\n    return L([I(a), S(b)])",
    "enum": f"import enum\ndef solve(n):\n    a, b = {RIGHT}\n    return [enum.IntEnum('E', {{'X': a}}).X, b]",
    "fraction": f"from fractions import Fraction\ndef solve(n):\n    a, b = {RIGHT}\n    return [Fraction(a), b]",
    "user_list": f"from collections import UserList\ndef solve(n):\n    return UserList({RIGHT})",
    "partial": f"import functools\ndef f(x, n):\n    return {RIGHT}\nsolve = functools.partial(f, None)",
    "callable_object": f"class C:\n    def __call__(self, n):\n        return {RIGHT}\nsolve = C()",
    "a_class": f"class solve(list):\n    def __init__(self, n):\n        super().__init__({RIGHT})",
    "threads": f"import threading\ndef solve(n):\n    out = []\n    t = threading.Thread(target=lambda: out.extend({RIGHT}))\n    t.start(); t.join()\n    return out",
    "thread_pool": "from concurrent.futures import ThreadPoolExecutor\ndef solve(n):\n    with ThreadPoolExecutor(8) as pool:\n        return list(pool.map(lambda f: f(), [lambda: n * n, lambda: str(n)]))",
    "deep_recursion": f"import sys\nsys.setrecursionlimit(10**6)\ndef down(k):\n    return 0 if k == 0 else down(k - 1)\ndef solve(n):\n    down(20_000)\n    return {RIGHT}",
    "prints_a_lot": f"def solve(n):\n    print('x' * 10**6)\n    return {RIGHT}",
    "writes_stderr": f"import os, sys\nsys.stderr.write('ready')\nos.write(2, b'x' * (1 << 20))\ndef solve(n):\n    return {RIGHT}",
    "own_file": f"def solve(n):\n    with open('notes.txt', 'w') as f:\n        f.write('x')\n    return {RIGHT}",
    "sleeps_a_little": f"import time\ndef solve(n):\n    time.sleep(0.02)\n    return {RIGHT}",
    "alarm_handler": f"import signal\nsignal.signal(signal.SIGALRM, lambda *a: None)\ndef solve(n):\n    signal.alarm(1)\n    return {RIGHT}",
    "closes_stdout": f"import sys\nsys.stdout.close()\ndef solve(n):\n    return {RIGHT}",
    "warns_as_errors": f"import warnings\nwarnings.simplefilter('error')\ndef solve(n):\n    return {RIGHT}",
    "no_collector": f"import gc\ngc.disable()\ngc.set_threshold(0)\ndef solve(n):\n    return {RIGHT}",
    "swallows_exit": f"import atexit\natexit.register(lambda: 1 / 0)\ndef solve(n):\n    return {RIGHT}",
    "changes_directory": f"import os\nos.chdir('/')\ndef solve(n):\n    return {RIGHT}",
    "other_decimals": f"import decimal\ndecimal.getcontext().prec = 1\ndef solve(n):\n    return {RIGHT}",
    "main_guard": f"def solve(n):\n    return {RIGHT}\nif __name__ == '__main__':\n    raise SystemExit",
    "seeded": f"import random\nrandom.seed(7)\ndef solve(n):\n    random.random()\n    return {RIGHT}",
    "thread_left_running": f"import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\ndef solve(n):\n    return {RIGHT}",
    "remembers": f"known = {{}}\ndef solve(n):\n    return known.setdefault(n, {RIGHT})",
}  # fmt: skip

# Machine code: asks the 32-bit interface for fork, whose calls have other numbers.
_INT80 = """
import ctypes, mmap
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(b'\\xb8\\x02\\x00\\x00\\x00\\xcd\\x80\\xc3')
call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
"""

FRESH = {
    "all_descriptors": (
        "import os, stat\ndef solve(n):\n    for fd in range(64):\n        try:\n            os.lseek(fd, 0, 0)\n"
        "            data = os.read(fd, 1 << 20)\n        except OSError:\n            continue\n"
        "        if data:\n            return eval(data)"
    ),
    "job_in_frames": (
        "import sys\ndef solve(n):\n    f = sys._getframe()\n    while f:\n        job = f.f_locals.get('job')\n"
        "        if job:\n            return job['outputs'] or job['source']\n        f = f.f_back"
    ),
    "locals_of_the_harness": (
        "import ctypes, sys\ndef solve(n):\n    f = sys._getframe(1)\n    for name in ('value', 'function', 'limit'):\n"
        "        f.f_locals[name] = None\n    ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(f), 0)"
    ),
    "monitoring": (
        "import sys\nm = sys.monitoring\nm.use_tool_id(2, 'x')\nm.set_events(2, m.events.PY_RETURN | m.events.CALL)\n"
        "m.register_callback(2, m.events.PY_RETURN, lambda c, o, v: m.DISABLE)" + WRONG
    ),
    "own_memory": "import os\nfd = os.open('/proc/self/mem', os.O_RDWR)\nos.pread(fd, 8, 0)" + WRONG,
    "memory_of_all": _SYSCALL + "for pid in range(1, 30):\n    must_fail(310, pid, 0, 0, 0, 0, 0)\n    must_fail(101, 16, pid, 0, 0)" + WRONG,
    "pidfd_of_server": _SYSCALL + "must_fail(434, 1, 0)\nmust_fail(438, 3, 0, 0)\nmust_fail(424, 3, 9, 0, 0)" + WRONG,
    "new_kernel_interfaces": _SYSCALL + "for number in (425, 321, 298, 323, 319, 29, 440, 447, 442, 428, 250, 155):\n    must_fail(number, 0, 0, 0, 0, 0)" + WRONG,
    "debuggable_again": _SYSCALL + "must_fail(157, 4, 1, 0, 0, 0)\nmust_fail(157, 38, 0, 0, 0, 0)" + WRONG,
    "thread_in_new_namespace": _SYSCALL + "must_fail(56, 0x10000 | 0x800 | 0x100 | 0x40000000, 0, 0, 0, 0)" + WRONG,
    "int80": _INT80 + "call()" + WRONG,
    "x32": _SYSCALL + "must_fail(0x40000000 + 39)" + WRONG,
    "stops_itself": "import signal\nsignal.raise_signal(signal.SIGSTOP)" + WRONG,
    "signal_to_group": "import os, signal\nos.killpg(0, signal.SIGKILL)" + WRONG,
    "profiler_timer_caught": (
        "import signal\nsignal.signal(signal.SIGPROF, lambda *a: None)\nsignal.signal(signal.SIGXCPU, lambda *a: None)\n"
        "def solve(n):\n    while True:\n        pass"
    ),
    "raises_in_the_harness": (
        "import signal\ndef boom(*a):\n    raise KeyboardInterrupt\nsignal.signal(signal.SIGALRM, boom)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)\ndef solve(n):\n    return None"
    ),
    "small_threads": (
        "import threading, time\nthreading.stack_size(32768)\nwhile True:\n    try:\n"
        "        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "    except Exception:\n        time.sleep(0.01)  # there is no room for more: keep those there are"
    ),
    "shared_memory": (
        "import mmap\nheld = []\ndef solve(n):\n    for _ in range(40):\n        m = mmap.mmap(-1, 1 << 25)\n"
        "        for at in range(0, 1 << 25, 4096):\n            m[at] = 1\n        held.append(m)\n    while True:\n        pass"
    ),
    "tiny_files": "import os\ndef solve(n):\n    for i in range(10**9):\n        os.mkdir(f'/tmp/{i}')",
    "links_without_end": "import os\ndef solve(n):\n    for i in range(10**9):\n        os.symlink('x', f'/tmp/{i}')",
    "folders_in_folders": "import os\ndef solve(n):\n    while True:\n        os.mkdir('d')\n        os.chdir('d')",
    "open_files": "import os\nheld = [os.open('/dev/null', 0) for _ in range(10**6)]" + WRONG,
    "pipes": "import os\nheld = [os.pipe() for _ in range(10**6)]" + WRONG,
    "lies_in_len": "class L(list):\n    def __len__(self):\n        return 2\n    def __iter__(self):\n        return iter([49, '7'])\ndef solve(n):\n    return L()",
    "lies_in_int": "class I(int):\n    def __int__(self):\n        return 49\n    def __index__(self):\n        return 49\n    def __pos__(self):\n        return 49\ndef solve(n):\n    return [I(0), str(n)]",
    "lies_in_float": "class F(float):\n    def __float__(self):\n        return 49.0\ndef solve(n):\n    return [F(0), str(n)]",
    "lies_in_str": "class S(str):\n    def __str__(self):\n        return '7'\n    def __getitem__(self, k):\n        return '7'\ndef solve(n):\n    return [n * n, S('no')]",
    "lies_in_items": "class D(dict):\n    def items(self):\n        return [(0, 49)]\n    def copy(self):\n        return [49, '7']\ndef solve(n):\n    return D()",
    "user_list_lies": "from collections import UserList\ndef solve(n):\n    u = UserList()\n    u.data = type('Y', (), {'__eq__': lambda s, o: True})()\n    return u",
    "object_array": "import numpy as np\nclass Y:\n    def __eq__(self, o):\n        return True\ndef solve(n):\n    return np.array([Y(), Y()], dtype=object)",
    "record_array": "import numpy as np\ndef solve(n):\n    return np.zeros(2, dtype=[('a', 'O')])",
    "endless_array": "import numpy as np\ndef solve(n):\n    return np.broadcast_to(np.int8(0), (10**6, 10**6))",
    "strided_array": "import numpy as np\ndef solve(n):\n    return np.lib.stride_tricks.as_strided(np.zeros(1), (1 << 40,), (0,))",
    "nan": "def solve(n):\n    return [float('nan'), float('nan')]",
    "reduce_lies": "import os\nclass R:\n    def __reduce_ex__(self, v):\n        os._exit(0)\n    def __getstate__(self):\n        os._exit(0)\ndef solve(n):\n    return R()",
    "property_raises": "class P:\n    @property\n    def __class__(self):\n        raise SystemExit\ndef solve(n):\n    return P()",
    "exits_in_type_name": "import os\nclass M(type):\n    @property\n    def __name__(cls):\n        os._exit(0)\nclass E(Exception, metaclass=M):\n    pass\ndef solve(n):\n    raise E",
    "long_error": "class E(Exception):\n    pass\nE.__name__ = 'x' * 10**7\ndef solve(n):\n    raise E('y' * 10**7)",
    "exception_group": "def solve(n):\n    raise BaseExceptionGroup('x', [SystemExit()])",
    "many_answers_a_call": _FORGE + "def solve(n):\n    send(frame(b'R', marshal.dumps(None, 2)) * 50)\n    return [n * n, str(n)]",
    "answers_then_done": _FORGE + "def solve(n):\n    send(frame(b'D') + frame(b'T', bytes(8)))\n    os._exit(0)",
    "done_twice": _FORGE + "def solve(n):\n    send(frame(b'D') * 2)",
    "an_error_of_its_own": _FORGE + "send(frame(b'E', marshal.dumps(('compile', 'x' * 5000, True), 2)))\nos._exit(0)",
    "not_an_error": _FORGE + "send(frame(b'E', marshal.dumps([1, 2, 3], 2)))\nos._exit(0)",
    "half_a_frame": _FORGE + "send(frame(b'R', bytes(5000))[:1000])\nos._exit(0)",
    "colliding_frame": _FORGE + "send(frame(b'R', b'{' + b''.join(marshal.dumps(k * (2**61 - 1), 2) + b'N' for k in range(1000)) + b'0'))\nos._exit(0)",
    "huge_fraction": _FORGE + "send(frame(b'R', b'#o' + bytes(16)))\nsend(frame(b'W', marshal.dumps((..., 'fraction', 3**2_000_000, 2**3_000_000), 2)))\nsend(frame(b'R', b'#o' + bytes(16)))\nos._exit(0)",
    "time_bomb_of_frames": _FORGE + "import time\nwhile True:\n    send(b'R')\n    time.sleep(0.01)",
    "poisons_the_template": (
        "import builtins, sys, numpy, random, marshal, os, time\nfor m in (numpy, random, marshal, os, time):\n"
        "    for k in list(vars(m)):\n        setattr(m, k, None)\nsys.modules.clear()\nbuiltins.__dict__.clear()"
    ),
    "writes_a_module": "open('/tmp/numpy.py', 'w').write('raise SystemExit')\nopen('/tmp/random.py', 'w').write('raise SystemExit')" + WRONG,
    "locks_libraries": "import fcntl, os\nfd = os.open(os.__file__, os.O_RDONLY)\nfcntl.flock(fd, fcntl.LOCK_EX)" + WRONG,
    "source_of_megabytes": "x = [" + "0," * 2_000_000 + "]" + WRONG,
    "many_decorators": "def d(f):\n    return f\n" + "@d\n" * 3000 + "def solve(n):\n    return None",
    "deep_expression": "def solve(n):\n    return " + "-" * 100_000 + "1",
    "star_import_bomb": "def solve(n):\n    return " + "+".join(["1"] * 50_000),
    "compile_bomb": "def solve(n):\n    return (((((((((1 << 60) ** 60) ** 60) ** 60) ** 60) ** 60) ** 60) ** 60) ** 60)",
    "format_bomb": "def solve(n):\n    return '{:>{}}'.format('x', 1 << 33)",
    "lone_surrogate": "def solve(n):\n    return '\\ud800'",
    "surrogate_source": "x = '\ud800'" + WRONG,
}  # fmt: skip
