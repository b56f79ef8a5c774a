"""Builds the extension against the installed vaultscope: it has headers, .pxd files and the library."""

from Cython.Build import cythonize
from setuptools import Extension, setup

import vaultscope

store = Extension(
    "vault._store",
    ["vault/_store.pyx"],
    include_dirs=[vaultscope.get_include(), "../c"],
    library_dirs=vaultscope.get_library_dirs(),
    libraries=["vaultscope"],
)
setup(packages=["vault"], ext_modules=cythonize([store]))
