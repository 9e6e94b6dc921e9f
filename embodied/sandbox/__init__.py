"""Model-written code: a static check that explains mistakes, and the lock that is the boundary.

`static_check` turns mistakes and attacks into messages with line numbers; `process` starts a worker, which
loads trusted code, locks itself (`lock`) and only then sees the program. Nothing here knows what it runs:
an entry is named `package.module:object` and offers `prepare(request)` and `run(context, channel)`.

Threat model. The code inside the lock is hostile: it may try to read files or secrets, write, talk to the
network, start programs, exhaust the machine, or hang. The lock's layers are the kernel's: seccomp (which
calls), Landlock (which files), resource limits, an empty environment, no inherited descriptors, death with
the parent, and own namespaces where the system allows them.

What remains. Code that controls the locked process can forge whatever that process reports: its metrics,
its weights, its messages. The static check is what stands in the way of that; the remedy is that success is
measured elsewhere, by an evaluator that never loads reward code. It can also learn that a path exists
(`stat`), and waste its own time until the deadline. Kernel faults and timing channels are out of scope: put
a container or a virtual machine around it where they matter.
"""
