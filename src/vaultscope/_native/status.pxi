# The one place where a status of the C core becomes an exception.

cdef int check(vs_status status, str what) except -1:
    """Raises for any status but VS_OK; `what` names the thing that was asked for."""
    if status == VS_OK:
        return 0
    if status == VS_E_NO_MEMORY:
        raise MemoryError(f"{what}: the system refused memory")
    if status == VS_E_FULL:
        raise LimitError(f"{what}: the arena is full (raise VAULTSCOPE_STRIPE_BYTES), or its disk is")
    if status == VS_E_INVALID:
        raise DeclarationError(f"{what}: not a valid declaration")
    if status == VS_E_CONFLICT:
        raise DeclarationConflictError(f"{what}: declared already with another shape, or its exported names clash")
    if status == VS_E_NOT_FOUND:
        raise NotFoundError(f"{what}: not found")
    if status == VS_E_CORRUPT:
        raise DecodeError(f"{what}: corrupt data")
    if status == VS_E_BUSY:
        raise ArenaError(f"{what}: another process holds the arena's lock")
    raise NativeError(f"{what}: {vs_status_text(status).decode()}")


cdef int check_opened(vs_status status, bint is_file) except -1:
    """The same for an arena that could not be opened: where it is a file, the library says why."""
    if status in (VS_E_SYSTEM, VS_E_FOREIGN, VS_E_BUSY, VS_E_CORRUPT, VS_E_READ_ONLY) or \
            is_file and status in (VS_E_INVALID, VS_E_FULL):
        raise ArenaError(vs_arena_reason().decode("utf-8", "backslashreplace"))
    return check(status, "arena (VAULTSCOPE_ARENA, VAULTSCOPE_STRIPES, VAULTSCOPE_STRIPE_BYTES)")


def library_version() -> str:
    """The version of libvaultscope that is loaded, as "MAJOR.MINOR.PATCH"."""
    return vs_version().decode()
