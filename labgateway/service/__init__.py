"""The running service: tasks, signals, systemd readiness and watchdog, reload, control socket, logs."""
