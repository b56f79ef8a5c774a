"""Where an installation keeps what C and Cython need: beside the extension, so in an editable one too."""

from __future__ import annotations


def _directory(*parts: str) -> str:
    """A directory of the installed package. It must be there: a build without it would fail far from here."""
    import os

    from vaultscope._native import _core
    from vaultscope.errors import NativeError

    path = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(_core.__file__))), *parts)
    if not os.path.isdir(path):
        raise NativeError(f"this installation of vaultscope has no {path}")
    return path


def get_include() -> str:
    """The directory of `vaultscope.h`, for a compiler's include path (as `numpy.get_include`).

    Raises:
        NativeError: The installation lacks it.
    """
    return _directory("include")


def get_library_dirs() -> list[str]:
    """The directories of `libvaultscope.so`, for a linker (as `pyarrow.get_library_dirs`): there is one.

    Raises:
        NativeError: The installation lacks them.
    """
    return [_directory()]


def get_cmake_dir() -> str:
    """The directory of `vaultscopeConfig.cmake`, for `-Dvaultscope_DIR=`. Raises as `get_include` does."""
    return _directory("lib", "cmake", "vaultscope")


def get_pkgconfig_dir() -> str:
    """The directory of `vaultscope.pc`, for `PKG_CONFIG_PATH`. Raises as `get_include` does."""
    return _directory("lib", "pkgconfig")
