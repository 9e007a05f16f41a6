"""`mergekit-yaml` with our methods registered: the same arguments, the same program."""

from mergekit.scripts.run_yaml import main

from worker.merge.mergekit_plugin import register_all

if __name__ == "__main__":
    register_all()
    main()
