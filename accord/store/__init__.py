"""Where records live: schema, verbs, claims, lineage, exchange."""

from accord.store.claims import Claim
from accord.store.errors import Conflict, Missing, Refused, StoreError
from accord.store.lineage import Lineage
from accord.store.store import Store

__all__ = ["Claim", "Conflict", "Lineage", "Missing", "Refused", "Store", "StoreError"]
