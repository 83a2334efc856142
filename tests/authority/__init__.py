"""What authorities say of keys, judged by a real sshd and by us."""
