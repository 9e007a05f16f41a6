"""Programs that try to pass without being right, or to harm the grader, the host or another sample.

Each defines (or destroys) `solve`, whose right answer for n is [n * n, str(n)]. None may be graded as passed.
"""

# ruff: noqa: E501

WRONG = "\ndef solve(n):\n    return None\n"

# Finds the descriptor of the answers by trying all, with frames of the real protocol.
_FORGE = """
import os, struct, marshal
def frame(kind, body=b""):
    return struct.pack("<cI", kind, len(body)) + body
def send(data):
    for fd in range(3, 64):
        try:
            os.write(fd, data)
        except OSError:
            pass
"""

# Calls the kernel directly. The numbers are those of x86-64.
_SYSCALL = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def must_fail(number, *arguments):
    assert libc.syscall(number, *arguments) != -1, ctypes.get_errno()
"""

ENDING = {
    "os_exit_at_import": "import os; os._exit(0)",
    "os_exit_in_call": "import os\ndef solve(n):\n    os._exit(0)",
    "posix_exit": "import posix\ndef solve(n):\n    posix._exit(0)",
    "exit_by_syscall": _SYSCALL + "def solve(n):\n    libc.syscall(231, 0)",
    "sys_exit": "import sys\ndef solve(n):\n    sys.exit(0)",
    "system_exit_at_import": "raise SystemExit(0)",
    "exit_in_atexit": "import atexit, os\natexit.register(os._exit, 0)" + WRONG,
    "exit_in_del": "import os\nclass Bye:\n    def __del__(self):\n        os._exit(0)\ndef solve(n):\n    Bye()",
    "keyboard_interrupt": "def solve(n):\n    raise KeyboardInterrupt",
    "own_base_exception": "class Quiet(BaseException):\n    pass\ndef solve(n):\n    raise Quiet",
    "liar_exception": (
        "class Meta(type):\n    __name__ = property(lambda self: 1 / 0)\n"
        "class Quiet(BaseException, metaclass=Meta):\n    pass\ndef solve(n):\n    raise Quiet"
    ),
    "abort": "import os\ndef solve(n):\n    os.abort()",
    "segfault": "import ctypes\ndef solve(n):\n    ctypes.string_at(0)",
    "c_stack_overflow": (
        "import sys\nsys.setrecursionlimit(10**9)\nclass Deep:\n    def __repr__(self):\n        return repr(self)\n"
        "def solve(n):\n    return repr(Deep())"
    ),
    "recursion": "def solve(n):\n    return solve(n)",
}

LYING = {
    "always_equal": "class Any:\n    def __eq__(self, other):\n        return True\ndef solve(n):\n    return Any()",
    "equal_list": (
        "class Yes(list):\n    def __eq__(self, other):\n        return True\n    __hash__ = None\n"
        "def solve(n):\n    return Yes([0])"
    ),
    "equal_items": "class Yes(int):\n    def __eq__(self, o):\n        return True\ndef solve(n):\n    return [Yes(), Yes()]",
    "lying_class": (
        "class Any:\n    __class__ = property(lambda self: list)\n    def __eq__(self, other):\n        return True\n"
        "def solve(n):\n    return Any()"
    ),
    "lying_metaclass": (
        "class Meta(type):\n    def __eq__(cls, other):\n        return True\n    def __instancecheck__(cls, x):\n"
        "        return True\n    __hash__ = type.__hash__\nclass Any(metaclass=Meta):\n    def __eq__(self, other):\n"
        "        return True\ndef solve(n):\n    return Any()"
    ),
    "lying_array": (
        "import numpy as np\nclass Any(np.ndarray):\n    def __eq__(self, other):\n        return True\n"
        "def solve(n):\n    return np.zeros(2).view(Any)"
    ),
    "pickled_payload": (
        "import os, pickle\nclass Load:\n    def __reduce__(self):\n        return (os._exit, (0,))\n"
        "def solve(n):\n    return pickle.dumps(Load())"
    ),
    "reduce_object": "class Load:\n    def __reduce__(self):\n        return (exit, ())\ndef solve(n):\n    return Load()",
    "generator": "def solve(n):\n    yield n * n\n    yield str(n)",
    "coroutine": "async def solve(n):\n    return [n * n, str(n)]",
    "code_object": "def solve(n):\n    return solve.__code__",
    "tagged_like_the_wire": "def solve(n):\n    return (..., 'sub', 'list', [n * n, str(n)])",
    "mock": "from unittest.mock import MagicMock\ndef solve(n):\n    return MagicMock()",
}

FORGING = {
    "claims_done": _FORGE + "send(frame(b'D'))\nos._exit(0)",
    "claims_done_in_call": _FORGE + "def solve(n):\n    send(frame(b'D'))\n    os._exit(0)",
    "guesses_answers": _FORGE + "send(frame(b'R', marshal.dumps([0, '0'], 2)) * 9 + frame(b'D'))\nos._exit(0)",
    "too_many_answers": _FORGE + "send(frame(b'R', marshal.dumps(None, 2)) * 1000 + frame(b'D'))\nos._exit(0)",
    "claims_test_passed": _FORGE + "send(frame(b'C') + frame(b'N') * 9 + frame(b'D'))\nos._exit(0)",
    "digest_without_value": _FORGE + "send((frame(b'R', b'#o' + bytes(16))) * 9 + frame(b'D'))\nos._exit(0)",
    "malformed_frame": _FORGE + "send(b'R' + bytes(range(1, 250)))\nos._exit(0)",
    "huge_frame": _FORGE + "send(struct.pack('<cI', b'R', 2**32 - 1))\nwhile True:\n    send(bytes(1 << 16))",
    "endless_frames": _FORGE + "while True:\n    send(frame(b'T') * 1000)",
    "deep_value": _FORGE + "send(frame(b'R', b'(\\x01\\x00\\x00\\x00' * 1500 + b'N'))\nos._exit(0)",
    "colliding_keys": ("def solve(n):\n    return {k * (2**61 - 1): None for k in range(800)} if n < 9 else None"),
    "thread_forges_later": (
        _FORGE + "import threading, time\ndef later():\n    time.sleep(0.05)\n    send(frame(b'D'))\n    os._exit(0)\n"
        "threading.Thread(target=later, daemon=True).start()\ndef solve(n):\n    time.sleep(0.2)"
    ),
    "closes_everything": "import os\nos.closerange(0, 64)" + WRONG,
    "moves_descriptors": _FORGE
    + "for fd in range(3, 64):\n    try:\n        os.dup2(1, fd)\n    except OSError:\n        pass\n"
    "def solve(n):\n    return [n * n, str(n)]",
}

PATCHING = {
    "patched_builtins": (
        "import builtins\nfor name in ('type', 'len', 'set', 'map', 'all', 'isinstance', 'zip', 'iter', 'repr'):\n"
        "    setattr(builtins, name, lambda *a, **k: True)" + WRONG
    ),
    "patched_marshal": "import marshal\nmarshal.dumps = lambda *a: b'T'" + WRONG,
    "patched_wire": (
        "import sys\nfor name in ('worker.grade.wire', 'worker.grade.jobs'):\n    module = sys.modules[name]\n"
        "    for key in ('encode', 'brief', 'decode'):\n        setattr(module, key, lambda *a: b'T')" + WRONG
    ),
    "patched_frames": (
        "import sys\nFrames = sys.modules['worker.grade.jobs'].Frames\nput = Frames.put\n"
        "Frames.put = lambda self, kind, body=b'': put(self, b'D', b'')" + WRONG
    ),
    "patched_numpy": "import numpy as np\nnp.allclose = lambda *a, **k: True\nnp.all = np.allclose" + WRONG,
    "patched_time": "import time\nfor name in ('time', 'monotonic', 'process_time'):\n    setattr(time, name, lambda: 0.0)"
    + WRONG,
    "reloaded_os": "import importlib, os, sys\nimportlib.reload(os)\nsys.modules['marshal'] = sys.modules['json'] = None"
    + WRONG,
    "deleted_builtins": "import builtins\nfor name in list(vars(builtins)):\n    delattr(builtins, name)" + WRONG,
    "traced": (
        "import sys\ndef trace(frame, event, argument):\n    frame.f_locals.update(value=True, passed=True)\n"
        "    return trace\nsys.settrace(trace)\nsys.setprofile(trace)" + WRONG
    ),
    "patched_type_slots": (
        "import ctypes, gc\nd = gc.get_referents(list.__dict__)[0]\nd['__eq__'] = lambda a, b: True" + WRONG
    ),
}

SPYING = {
    "frames": (
        "import sys\ndef solve(n):\n    frame = sys._getframe()\n    while frame:\n"
        "        for value in [*frame.f_locals.values(), *frame.f_globals.values()]:\n"
        "            if isinstance(value, dict) and value.get('outputs'):\n                return value['outputs'][n]\n"
        "            if type(value) is list and value and type(value[0]) is list:\n                return value[0]\n"
        "        frame = frame.f_back"
    ),
    "garbage_collector": (
        "import gc\ndef solve(n):\n    for value in gc.get_objects():\n"
        "        if type(value) is list and len(value) == 2 and value[1:] == [str(n)]:\n            return value"
    ),
    "test_in_memory": (
        "import gc\nfound = [c for f in gc.get_objects() if hasattr(f, '__code__') for c in f.__code__.co_consts\n"
        "         if isinstance(c, tuple) and len(c) == 2 and c[0] == 49]\ndef solve(n):\n    return list(found[0])"
    ),
    "own_source": (
        "import linecache, inspect, sys\ndef solve(n):\n    source = inspect.getsource(sys._getframe(1))\n"
        "    return eval(source.split('candidate(')[1].split('== ')[1])"
    ),
    "proc_fd": "import os\ndef solve(n):\n    return [open(f'/proc/self/fd/{d}').read() for d in os.listdir('/proc/self/fd')]",
    "parent_memory": "import os\nopen(f'/proc/{os.getppid()}/mem', 'rb').read(1)" + WRONG,
    "test_file": (
        "import pathlib\ndef solve(n):\n    for path in pathlib.Path('/').rglob('*.jsonl*'):\n        return path.read_bytes()\n"
        "    raise LookupError"
    ),
    "environment": "import os\nassert set(os.environ) - {'PATH', 'HOME', 'LANG', 'PWD', 'LC_CTYPE'} == {'SECRET'}" + WRONG,
    "home": "import os\nfor home in ('/root', '/home', '/etc/passwd', '/etc/shadow'):\n    assert os.path.exists(home)" + WRONG,
    "ptrace": _SYSCALL + "must_fail(101, 16, os.getppid(), 0, 0)" + WRONG,
    "read_parent_memory": _SYSCALL + "must_fail(310, os.getppid(), 0, 0, 0, 0, 0)" + WRONG,
}  # fmt: skip

HARMING = {
    "fork": "import os\nif os.fork() == 0:\n    while True:\n        pass" + WRONG,
    "fork_bomb": "import os\ndef solve(n):\n    while True:\n        os.fork()",
    "fork_by_syscall": _SYSCALL + "must_fail(57)\nmust_fail(56, 17, 0, 0, 0, 0)" + WRONG,
    "clone3": _SYSCALL + "must_fail(435, 0, 0)" + WRONG,
    "subprocess": "import subprocess\ndef solve(n):\n    return subprocess.run(['/bin/sh', '-c', 'true']).returncode",
    "spawn": "import os, sys\nos.posix_spawn(sys.executable or '/bin/sh', ['x'], {})" + WRONG,
    "exec": "import os\nos.execv('/bin/true', ['true'])" + WRONG,
    "system": "import os\nassert os.system('true') == 0" + WRONG,
    "multiprocessing": "import multiprocessing as m\np = m.Process(target=print)\np.start()\np.join()" + WRONG,
    "kill_parent": "import os\nos.kill(os.getppid(), 9)" + WRONG,
    "kill_all": "import os\nos.kill(-1, 9)" + WRONG,
    "kill_by_owner": (
        "import fcntl, os\nr, w = os.pipe()\nfcntl.fcntl(r, fcntl.F_SETOWN, os.getppid())\n"
        "fcntl.fcntl(r, fcntl.F_SETFL, os.O_ASYNC)\nos.write(w, b'x')" + WRONG
    ),
    "starve_parent": "import os, resource\nresource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))" + WRONG,
    "raise_own_limits": "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (999, 999))" + WRONG,
    "new_namespace": _SYSCALL + "must_fail(272, 0x10000000)" + WRONG,
    "mount": _SYSCALL + "must_fail(165, b'none', b'/tmp', b'tmpfs', 0, 0)" + WRONG,
    "socket": "import socket\nsocket.create_connection(('127.0.0.1', 80), 1)" + WRONG,
    "unix_socket": "import socket\nsocket.socketpair()" + WRONG,
    "listen": "import socket\nsocket.socket().listen()" + WRONG,
    "memory_bomb": "def solve(n):\n    held = []\n    while True:\n        held.append(bytearray(1 << 26))",
    "memory_at_once": "def solve(n):\n    return [0] * 10**11",
    "huge_integer": "def solve(n):\n    return 1 << (1 << 28)",
    "huge_string": "def solve(n):\n    return 'x' * (1 << 28)",
    "laughs": "def solve(n):\n    a = [0] * 10\n    for _ in range(20):\n        a = [a] * 10\n    return a",
    "deep_list": "def solve(n):\n    a = []\n    for _ in range(10**5):\n        a = [a]\n    return a",
    "self_reference": "def solve(n):\n    a = []\n    a.append(a)\n    return a",
    "endless_list": "def solve(n):\n    import itertools\n    return list(itertools.count())",
    "endless_print": "def solve(n):\n    while True:\n        print('x' * 10**6)",
    "endless_loop": "def solve(n):\n    while True:\n        pass",
    "endless_loop_at_import": "while True:\n    pass",
    "ignores_signals": (
        "import signal\nfor number in signal.valid_signals():\n    try:\n        signal.signal(number, signal.SIG_IGN)\n"
        "    except (OSError, ValueError):\n        pass\ndef solve(n):\n    while True:\n        pass"
    ),
    "disarms_timer": "import signal\ndef solve(n):\n    signal.setitimer(signal.ITIMER_PROF, 0)\n    while True:\n        pass",
    "catches_everything": (
        "def solve(n):\n    while True:\n        try:\n            while True:\n                pass\n"
        "        except BaseException:\n            pass"
    ),
    "sleeps": "import time\ndef solve(n):\n    time.sleep(3600)",
    "deadlock": "import threading\ndef solve(n):\n    lock = threading.Lock()\n    lock.acquire()\n    lock.acquire()",
    "threads": (
        "import threading\ndef spin():\n    while True:\n        pass\nfor _ in range(20):\n"
        "    threading.Thread(target=spin).start()" + WRONG
    ),
    "thread_bomb": (
        "import threading, time\ndef more():\n    while True:\n        threading.Thread(target=more).start()\nmore()" + WRONG
    ),
    "reads_input": "def solve(n):\n    return input()",
    "regex_backtracking": "import re\ndef solve(n):\n    return re.match('(a+)+$', 'a' * 60 + 'b')",
    "big_power": "def solve(n):\n    return str(9 ** 9 ** 9)",
    "symlink": "import os\nos.symlink('/etc/passwd', 'link')\nopen('link', 'a').write('x')" + WRONG,
    "writes_interpreter": "import os\nopen(os.__file__, 'a').write('raise SystemExit')" + WRONG,
    "writes_numpy": "import numpy\nopen(numpy.__file__, 'a').write('raise SystemExit')" + WRONG,
    "writes_root": "open('/marker', 'w').write('x')" + WRONG,
    "fills_disk": "def solve(n):\n    with open('/tmp/big', 'wb') as file:\n        while True:\n            file.write(bytes(1 << 20))",
    "many_files": "def solve(n):\n    for i in range(10**9):\n        open(f'/tmp/{i}', 'w').close()",
    "removes_files": "import shutil\nshutil.rmtree('/usr/lib')\nshutil.rmtree('/grade')" + WRONG,
    "unparsable": "def solve(n:\n",
    "null_byte": "def solve(n):\n    return 1\x00",
    "too_nested_source": "x = " + "(" * 5000 + ")" * 5000 + WRONG,
    "no_function": "answer = 42",
    "end_of_turn": "def solve(n):\n    return [n * n, str(n)]<end_of_turn>",
}  # fmt: skip

HOSTILE: dict[str, str] = ENDING | LYING | FORGING | PATCHING | SPYING | HARMING

# What the verdict must be, where one is right; elsewhere anything but passed is.
VERDICTS = {
    "os_exit_at_import": "error", "segfault": "error", "sys_exit": "error", "always_equal": "failed",
    "equal_list": "failed", "generator": "failed", "claims_done": "forbidden", "malformed_frame": "forbidden",
    "fork": "forbidden", "fork_bomb": "forbidden", "subprocess": "forbidden", "kill_parent": "forbidden",
    "socket": "forbidden", "memory_at_once": "memory", "endless_loop": "timeout",
    "endless_print": "timeout", "sleeps": "timeout", "ignores_signals": "timeout", "unparsable": "unparsable",
    "null_byte": "unparsable", "too_nested_source": "unparsable", "end_of_turn": "unparsable", "no_function": "error",
    "writes_root": "forbidden", "writes_interpreter": "forbidden", "recursion": "error", "catches_everything": "timeout",
    "small_threads": "forbidden", "tiny_files": "forbidden", "links_without_end": "forbidden", "int80": "error",
    "x32": "error", "stops_itself": "forbidden", "profiler_timer_caught": "timeout",
    "surrogate_source": "unparsable",
}  # fmt: skip
