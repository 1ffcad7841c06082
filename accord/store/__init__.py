"""Where records live: schema, verbs, claims, lineage, exchange."""

from accord.store.claims import Claim
from accord.store.errors import Conflict, Missing, Refused, StoreError
from accord.store.exchange import Bad, Imported, Report, import_file, read, texts
from accord.store.export import Exported, export
from accord.store.files import Limits
from accord.store.lineage import Lineage
from accord.store.sides import split_of
from accord.store.store import Store

__all__ = [
    "Bad",
    "Claim",
    "Conflict",
    "Exported",
    "Imported",
    "Limits",
    "Lineage",
    "Missing",
    "Refused",
    "Report",
    "Store",
    "StoreError",
    "export",
    "import_file",
    "read",
    "split_of",
    "texts",
]
