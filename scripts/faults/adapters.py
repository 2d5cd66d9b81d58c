"""Faults in what the adapters share, for `mutate.py`."""

FAULTS = (
    (
        "a method that the application had replaced before the watch is not restored",
        "adapters/classes.py",
        "            own[name] = value.covered\n",
        "            pass\n",
        ("tests/adapters/test_classes.py",),
    ),
    (
        "a watched object that covers an attribute is part of a reference cycle",
        "adapters/classes.py",
        'put("target", weakref.ref(target))',
        'put("target", lambda: target)',
        ("tests/adapters/test_classes.py",),
    ),
    (
        "a mock in the class of a watched object is called with the object",
        "adapters/classes.py",
        'return found.__get__(target, base) if hasattr(type(found), "__get__") else found',
        "return types.MethodType(found, target)",
        ("tests/adapters/test_classes.py", "tests/contract/test_unnoticed.py"),
    ),
    (
        "a connection that is reset seems to listen for ever",
        "adapters/channels.py",
        "        if self._told and not self:\n",
        "        if False:\n",
        ("tests/adapters/asyncpg/test_asyncpg_listening.py",),
    ),
)
