"""The command line: one thin file a command, each importable as `main(argv)`."""
