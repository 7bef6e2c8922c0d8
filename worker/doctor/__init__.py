"""Looks a setup over before any money is spent: what is wrong, and the sentence that mends it.

Each subject has a file of its own, in which looking (calls, side by side) and judging (plain code) are apart. A look
gives what it saw or the `AwsError` that it met; a judge makes findings of that. What hangs on something that is at
fault is not judged, so that one fault gives one finding.

Nothing here costs anything: a Start is tried on an object that cannot exist, a deletion on a message that was never
sent.
"""
