# find_package(vaultscope): the imported target vaultscope::vaultscope. All paths are relative to this file.
include(CMakeFindDependencyMacro)
find_dependency(Threads)
include("${CMAKE_CURRENT_LIST_DIR}/vaultscopeTargets.cmake")
