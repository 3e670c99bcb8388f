#pragma once
// Dense products by cuBLASLt. The library is loaded when it is first needed: linking it would cost every start of a program a quarter
// of a second, also where no GPU is used.
#include <map>
#include <tuple>

#include "plait/runtime/view.hpp"

namespace plait::inline v0_1::cuda {

struct queue;

/// Algorithms that cuBLASLt proposed, by problem.
struct blas_plans {
  blas_plans();
  ~blas_plans();
  blas_plans(const blas_plans&) = delete;
  blas_plans& operator=(const blas_plans&) = delete;
  struct plan;
  using key = std::tuple<std::int64_t, std::int64_t, std::int64_t, int>;
  std::map<key, plan*> known;
};

/// Null, or why cuBLASLt cannot be used.
const char* blas_missing();

/// c (+)= op(a) op(b), row-major; false if cuBLASLt has no algorithm for it.
bool blas_product(queue& q, std::int64_t M, std::int64_t N, std::int64_t K, view a, bool transpose_a, view b, bool transpose_b, view c,
                  bool accumulate);

}  // namespace plait::inline v0_1::cuda
