# The harness tested on itself: each file here must get the verdict on its line below, and for that reason.
cmake_minimum_required(VERSION 3.25)

set(verdicts
  "self-test_good.cpp|"
  "self-test_control-broken.cpp|the control half does not compile"
  "self-test_wrong-half-compiles.cpp|the wrong half compiles"
  "self-test_other-reason.cpp|failed for another reason"
  "self-test_second.cpp|the first error is not plait.self-test."
  "self-test_no-pattern.cpp|the file has no // expected-error"
  "self-test_one-half.cpp|the file has no half under PLAIT_EXPECT_FAIL")
if(KIND STREQUAL "g++")
  list(APPEND verdicts "self-test_long.cpp|the diagnostic is too long")
endif()

set(wrong 0)
foreach(verdict IN LISTS verdicts)
  string(REPLACE "|" ";" verdict "${verdict}")
  list(POP_FRONT verdict case)
  execute_process(COMMAND "${CMAKE_COMMAND}" "-DCASE=${CMAKE_CURRENT_LIST_DIR}/${case}" "-DREPO=${REPO}" "-DKIND=${KIND}"
    "-DCOMPILER=${COMPILER}" -P "${CMAKE_CURRENT_LIST_DIR}/../run_case.cmake"
    RESULT_VARIABLE result OUTPUT_VARIABLE out ERROR_VARIABLE err)
  set(said "${out}${err}")
  if(verdict STREQUAL "" AND result EQUAL 0)
    message("${case}: passes, as it must")
  elseif(NOT verdict STREQUAL "" AND NOT result EQUAL 0 AND said MATCHES "${verdict}")
    message("${case}: refused, as it must be: ${verdict}")
  else()
    math(EXPR wrong "${wrong} + 1")
    message("${case}: WRONG VERDICT, wanted \"${verdict}\", got exit ${result} and\n${said}")
  endif()
endforeach()
if(wrong)
  message(FATAL_ERROR "the harness gave ${wrong} wrong verdicts")
endif()
