# What the libraries show: names of namespace equiprop that are declared EQUIPROP_EXPORT, and nothing else.
#
# Eigen's templates are compiled in the library and again in its users' programs, perhaps for another instruction
# set. The linker merges such weak symbols and keeps any one of them; the library would then round by what the user
# compiles with, or run instructions the processor lacks. So both kinds of library keep their copies to themselves.
set(EQUIPROP_SYMBOLS _ZN8equiprop* _ZNK8equiprop* _ZTIN8equiprop* _ZTSN8equiprop* _ZTVN8equiprop*)

# Gives a shared library a list of what it exports.
function(equiprop_restrict_exports target)
  if(UNIX AND NOT APPLE)
    list(JOIN EQUIPROP_SYMBOLS "; " names)
    set(script "${PROJECT_BINARY_DIR}/equiprop.map")
    file(CONFIGURE OUTPUT "${script}" CONTENT "{ global: @names@; local: *; };\n" @ONLY)
    target_link_options(${target} PRIVATE "LINKER:--version-script=${script}")
    set_target_properties(${target} PROPERTIES LINK_DEPENDS "${script}")
  endif()
endfunction()

# Links the objects of a static library into one and makes everything else local there, where GNU's ld and objcopy
# can. EQUIPROP_SEALED says whether they can.
set(EQUIPROP_SEALED FALSE)
if(CMAKE_LINKER AND CMAKE_OBJCOPY)
  execute_process(COMMAND "${CMAKE_LINKER}" --help OUTPUT_VARIABLE help ERROR_QUIET)
  if(help MATCHES "--force-group-allocation")
    set(EQUIPROP_SEALED TRUE)
  endif()
endif()
function(equiprop_seal target)
  if(NOT EQUIPROP_SEALED)
    message(STATUS "equiprop: the static library is not sealed, which takes GNU ld and objcopy: "
                   "compile its users with no -march of their own")
    return()
  endif()
  list(TRANSFORM EQUIPROP_SYMBOLS PREPEND "--keep-global-symbol=" OUTPUT_VARIABLE keep)
  set(archive "$<TARGET_FILE:${target}>")
  add_custom_command(TARGET ${target} POST_BUILD VERBATIM
    COMMAND "${CMAKE_LINKER}" -r --force-group-allocation --whole-archive "${archive}" -o "${archive}.o"
    COMMAND "${CMAKE_OBJCOPY}" --localize-hidden --wildcard ${keep} "${archive}.o"
    COMMAND "${CMAKE_COMMAND}" -E rm "${archive}"
    COMMAND "${CMAKE_AR}" qcs "${archive}" "${archive}.o"
    COMMAND "${CMAKE_COMMAND}" -E rm "${archive}.o")
endfunction()
