# Finds Eigen, either from the system or from the PyPI package cmeel-eigen. The latter installs its CMake files in
# site-packages/cmeel.prefix, whose path only Python knows. The build and the installed package include this file and
# then check TARGET Eigen3::Eigen.
set(EQUIPROP_NEEDS_EIGEN
    "equiprop needs Eigen 3.4: install it from your system (libeigen3-dev), or 'pip install cmeel-eigen' into \
the Python that CMake finds (-DPython_EXECUTABLE=... names another).")

# A function, so that the variables that find_package(Python) sets stay local; only the version of Eigen leaves it.
function(equiprop_find_eigen_of_python)
  find_package(Python COMPONENTS Interpreter QUIET)
  if(Python_EXECUTABLE)
    execute_process(
      COMMAND "${Python_EXECUTABLE}" -c
        "import sys, pathlib; print(';'.join(str(p) for p in (pathlib.Path(q) / 'cmeel.prefix' for q in sys.path) if p.is_dir()))"
      OUTPUT_VARIABLE prefixes OUTPUT_STRIP_TRAILING_WHITESPACE)
    find_package(Eigen3 3.4 CONFIG QUIET PATHS ${prefixes})
    set(Eigen3_VERSION "${Eigen3_VERSION}" PARENT_SCOPE)
  endif()
endfunction()

find_package(Eigen3 3.4 CONFIG QUIET)
if(NOT TARGET Eigen3::Eigen)
  equiprop_find_eigen_of_python()
endif()
