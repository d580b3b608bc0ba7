# The libraries export only names of namespace equiprop that are declared EQUIPROP_EXPORT.
#
# Eigen's templates are compiled in the library and again in its users' programs, perhaps for another instruction
# set. The linker merges such weak symbols and keeps one of them; the rounding of the library would then depend on the
# user's compiler options, or it would run instructions that the processor lacks. Therefore both kinds of library hide
# their copies.
set(EQUIPROP_SYMBOLS _ZN8equiprop* _ZNK8equiprop* _ZTIN8equiprop* _ZTSN8equiprop* _ZTVN8equiprop*)

# Gives a shared library the list of its exported symbols.
function(equiprop_restrict_exports target)
  if(UNIX AND NOT APPLE)
    list(JOIN EQUIPROP_SYMBOLS "; " names)
    set(script "${PROJECT_BINARY_DIR}/equiprop.map")
    file(CONFIGURE OUTPUT "${script}" CONTENT "{ global: @names@; local: *; };\n" @ONLY)
    target_link_options(${target} PRIVATE "LINKER:--version-script=${script}")
    set_target_properties(${target} PROPERTIES LINK_DEPENDS "${script}")
  endif()
endfunction()

# Links the objects of a static library into one object and makes all other symbols local. This requires GNU ld and
# objcopy; EQUIPROP_SEALED is true if they are available. Sanitizers refer to inline functions that would be local.
set(EQUIPROP_SEALED FALSE)
if(CMAKE_LINKER AND CMAKE_OBJCOPY AND NOT EQUIPROP_SANITIZE)
  execute_process(COMMAND "${CMAKE_LINKER}" --help OUTPUT_VARIABLE help ERROR_QUIET)
  if(help MATCHES "--force-group-allocation")
    set(EQUIPROP_SEALED TRUE)
  endif()
endif()
function(equiprop_seal target)
  if(NOT EQUIPROP_SEALED)
    message(STATUS "equiprop: the symbols of the static library are not hidden, which requires GNU ld and objcopy: "
                   "compile programs that link it without -march")
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
