"""The whole shell on a simulated cluster, group and clock: thousands of schedules, each determined by its seed.

What is simulated:

plan, installation            a schedule's parameters; its settings
history, past                 its records; those of earlier periods, and the rules that need them
world, faults, beside         the run; what happens to it; `milestones rebuild` next to it
cluster, client, group, loop  the log; the network; the consumer group; the event loop with its processes and clock
worker, copies                the real engine on all that; its standby copies

What is checked, with code that shares nothing with the service:

invariants                    the order in which the others look at a transaction, and at the end
committed, periods, broken    what has been committed so far; dates and their periods; what a check raises
accounts, counts              what became of each record; the units of each order
contradictions, vehicles      violations; deliveries told to the homes of vehicles
rows, over, plans, announced  the rows' sums and versions; ends of periods; targets and balances; announced campaigns
thresholds, comparisons       the milestones that stand: by numbers; by other periods or scopes
decided                       what a milestone says when it is decided
moments                       the unit that a milestone names
alerts                        early warnings
silences, source_hours        alerts about what fails to come; the hours of event sources
rebuilt                       the claim of a rebuild

How it is run: `__main__`, with chunks, coverage, crashes and found.
"""
