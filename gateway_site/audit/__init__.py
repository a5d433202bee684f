"""The audit log: one event for each call, sign-in, consent, ending and change of rights.

event          the events as JSON, with bounded fields and without secrets
chain          one process's chain of events: writer, number, digest of the previous line
audit_file     a file that several processes append to, and that other programs rotate
checkpoint     checkpoints: signed by KMS, and stored in the table
file_writer    the queue of a process and the thread that writes it
trail          the process's log: whether it is on, and where events go
call           the events of one call
receivers      signals of Django, of the session engine and of oauth as events
verification   whether files are complete and unaltered
exposure       whose cookies and tokens a process was shown

A call that is checked by rules reports what they found in `edge.access_log.LogEntry.checked`.
"""
