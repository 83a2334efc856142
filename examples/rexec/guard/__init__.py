"""The process that starts the commands of a server, and ends those that nobody holds any more.

`main` is its loop, and says how a server talks to it; `child` is what it forks, until that is a command. Both import
nothing but the standard library: the process is small, forks quickly, and has no threads. So nothing may be imported
here either, and nothing of the rest of rexec anywhere in this folder. The server's side is `server.starter`.
"""
