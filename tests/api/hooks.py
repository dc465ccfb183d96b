"""How schemathesis speaks to Viaduct's API."""

import schemathesis


@schemathesis.serializer("application/toml")
def toml(_context, value):
    """A configuration travels as text."""
    return value if isinstance(value, bytes) else str(value).encode()


@schemathesis.hook
def before_call(_context, case, _kwargs):
    """A text that happens to be right, as the empty one is, would take away what all others ask about."""
    if case.operation.path == "/v1/config" and (case.query or {}).get("dry_run", "false") in ("false", False):
        case.query = {**(case.query or {}), "dry_run": "true"}
