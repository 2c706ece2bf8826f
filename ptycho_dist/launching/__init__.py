"""Who started this process, and how processes of one launch are started, logged, signalled and ended."""
