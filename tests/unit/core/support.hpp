#pragma once
// Every rule is checked twice: by the compiler, and by the same function called at run time (through a volatile pointer, so that
// nothing is folded away and the sanitizers see it).
#include <doctest/doctest.h>

#include <iterator>

#include "plait/plait.hpp"

namespace core_test {

using namespace plait;
using k = placement_kind;

/// A check returns how many of its facts are false, so that a failure says more than "false".
using check_function = int (*)();
inline int at_run_time(check_function f) {
  check_function volatile opaque = f;
  return opaque();
}
#define PLAIT_TWICE(f)     \
  do {                     \
    static_assert(f() == 0); \
    CHECK(core_test::at_run_time(&f) == 0); \
  } while (false)

inline constexpr placement_value R = Replicate::value, I = Invariant::value, S0 = Shard<0>::value, S1 = Shard<1>::value,
                                 S2 = Shard<2>::value, S3 = Shard<3>::value, Q0 = StridedShard<0, 2>::value,
                                 Q1 = StridedShard<1, 2>::value, Q2 = StridedShard<2, 2>::value, P = Partial::value,
                                 M = PartialMax::value, V = Ragged::value, T = RaggedByToken::value;

/// One atom, one placement.
constexpr layout_value one(placement_value p) {
  layout_builder b(1);
  b.place(0, p);
  return b.value;
}

}  // namespace core_test
