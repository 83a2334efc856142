"""The packages that people install, in environments that have nothing else: ``make dist-check``.

Its files are called ``check_...``, so that ``make test`` passes them over: each environment costs a second or two.
"""
