# find_package(densekd CONFIG): the target densekd::densekd, from the folder that `cargo xtask c` makes.
get_filename_component(densekd_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
if(NOT TARGET densekd::densekd)
  add_library(densekd::densekd STATIC IMPORTED)
  set_target_properties(densekd::densekd PROPERTIES
    IMPORTED_LOCATION "${densekd_prefix}/lib/libdensekd.a"
    INTERFACE_INCLUDE_DIRECTORIES "${densekd_prefix}/include")
endif()
set(densekd_VERSION "0.1.0")
