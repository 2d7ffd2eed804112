"""Signatures of well-known standards and protocols, in the ABI's canonical spelling.

Sources: the ERCs (ercs.ethereum.org) and the published interfaces of the protocols named. Only names stand
there; selectors and topics are computed from them. Events say which parameters are indexed.
"""

from tokenizer import known_exchanges, known_protocols, known_standards

_PARTS = (known_standards, known_exchanges, known_protocols)
FUNCTIONS = tuple(text for part in _PARTS for texts in part.FUNCTIONS.values() for text in texts)
EVENTS = tuple(text for part in _PARTS for texts in part.EVENTS.values() for text in texts)
