#include "plait/kernels/cuda/blas.hpp"

#include <cublasLt.h>
#include <dlfcn.h>

#include <mutex>
#include <string>

#include "plait/kernels/cuda/queue.hpp"
#include "plait/kernels/per_device.hpp"

#ifndef PLAIT_CUDA_LIBRARY_DIR
#define PLAIT_CUDA_LIBRARY_DIR "/usr/local/cuda/lib64"
#endif

namespace plait::inline v0_1::cuda {
namespace {

struct library {
  std::string missing;
#define PLAIT_LT(name) decltype(&::cublasLt##name) name = nullptr
  PLAIT_LT(Create);
  PLAIT_LT(Matmul);
  PLAIT_LT(MatmulAlgoGetHeuristic);
  PLAIT_LT(MatmulDescCreate);
  PLAIT_LT(MatmulDescDestroy);
  PLAIT_LT(MatmulDescSetAttribute);
  PLAIT_LT(MatrixLayoutCreate);
  PLAIT_LT(MatrixLayoutDestroy);
  PLAIT_LT(MatmulPreferenceCreate);
  PLAIT_LT(MatmulPreferenceDestroy);
  PLAIT_LT(MatmulPreferenceSetAttribute);
#undef PLAIT_LT

  library() {
    const std::string name = "libcublasLt.so." + std::to_string(CUBLAS_VER_MAJOR);
    void* opened = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (opened == nullptr) opened = dlopen((std::string(PLAIT_CUDA_LIBRARY_DIR) + "/" + name).c_str(), RTLD_NOW | RTLD_LOCAL);
    if (opened == nullptr) {
      missing = name + " cannot be loaded; install CUDA's cuBLAS, or put its folder into LD_LIBRARY_PATH";
      return;
    }
    const auto take = [&](auto& function, const char* symbol) {
      function = reinterpret_cast<std::decay_t<decltype(function)>>(dlsym(opened, symbol));
      if (function == nullptr && missing.empty()) missing = name + " has no " + symbol;
    };
#define PLAIT_LT(symbol) take(symbol, "cublasLt" #symbol)
    PLAIT_LT(Create);
    PLAIT_LT(Matmul);
    PLAIT_LT(MatmulAlgoGetHeuristic);
    PLAIT_LT(MatmulDescCreate);
    PLAIT_LT(MatmulDescDestroy);
    PLAIT_LT(MatmulDescSetAttribute);
    PLAIT_LT(MatrixLayoutCreate);
    PLAIT_LT(MatrixLayoutDestroy);
    PLAIT_LT(MatmulPreferenceCreate);
    PLAIT_LT(MatmulPreferenceDestroy);
    PLAIT_LT(MatmulPreferenceSetAttribute);
#undef PLAIT_LT
  }
};

const library& lt() {
  static const library one;
  return one;
}

void require(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw std::runtime_error(std::string("plait: CUDA: cuBLASLt ") + what + ": status " + std::to_string(static_cast<int>(status)));
}

/// One a device, to the end of the program; null if it cannot be made.
cublasLtHandle_t handle() {
  static std::mutex mutex;
  static cublasLtHandle_t made[kernels::most_devices] = {};
  std::lock_guard lock(mutex);
  cublasLtHandle_t& here = made[kernels::this_device()];
  if (here == nullptr && lt().Create(&here) != CUBLAS_STATUS_SUCCESS) here = nullptr;
  return here;
}

cudaDataType_t data_type(dtype type) { return type == dtype::bf16 ? CUDA_R_16BF : CUDA_R_32F; }

/// The largest power of two up to 256 that divides the address.
unsigned alignment_of(const void* pointer) {
  const auto bits = reinterpret_cast<std::uintptr_t>(pointer) | 256u;
  return static_cast<unsigned>(bits & (~bits + 1));
}
int log2_of(unsigned power) { return __builtin_ctz(power); }

}  // namespace

struct blas_plans::plan {
  cublasLtMatmulDesc_t product = nullptr;
  cublasLtMatrixLayout_t a = nullptr, b = nullptr, c = nullptr;
  cublasLtMatmulAlgo_t algorithm{};
  bool found = false;

  ~plan() {
    if (product != nullptr) lt().MatmulDescDestroy(product);
    for (const cublasLtMatrixLayout_t m : {a, b, c})
      if (m != nullptr) lt().MatrixLayoutDestroy(m);
  }
};

blas_plans::blas_plans() = default;
blas_plans::~blas_plans() {
  for (auto& [key, p] : known) delete p;
}

const char* blas_missing() {
  if (!lt().missing.empty()) return lt().missing.c_str();
  return handle() != nullptr ? nullptr : "cuBLASLt could not be started on this GPU";
}

bool blas_product(queue& q, std::int64_t M, std::int64_t N, std::int64_t K, view a, bool transpose_a, view b, bool transpose_b, view c,
                  bool accumulate) {
  if (a.type != b.type || (a.type != dtype::f32 && a.type != dtype::bf16) || (c.type != a.type && c.type != dtype::f32)) return false;
  if (M > 0x7fffffff || N > 0x7fffffff || K > 0x7fffffff) return false;
  const unsigned align_a = alignment_of(a.data), align_b = alignment_of(b.data), align_c = alignment_of(c.data);
  int kind = (transpose_a ? 1 : 0) | (transpose_b ? 2 : 0) | (accumulate ? 4 : 0) | (a.type == dtype::bf16 ? 8 : 0) |
             (c.type == dtype::bf16 ? 16 : 0);
  kind |= log2_of(align_a) << 8 | log2_of(align_b) << 12 | log2_of(align_c) << 16;
  blas_plans::plan*& p = q.products.known[{M, N, K, kind}];
  const float alpha = 1, beta = accumulate ? 1 : 0;
  if (p == nullptr) {
    p = new blas_plans::plan;
    // Row-major c = op(a) op(b) is column-major c^T = op(b)^T op(a)^T: b's memory comes first.
    require(lt().MatmulDescCreate(&p->product, a.type == dtype::f32 ? CUBLAS_COMPUTE_32F_PEDANTIC : CUBLAS_COMPUTE_32F, CUDA_R_32F),
            "descriptor");
    const cublasOperation_t first = transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N, second = transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    require(lt().MatmulDescSetAttribute(p->product, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first), "descriptor");
    require(lt().MatmulDescSetAttribute(p->product, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second), "descriptor");
    const auto rows = [](std::int64_t n) { return static_cast<std::uint64_t>(n); };
    require(transpose_b ? lt().MatrixLayoutCreate(&p->a, data_type(b.type), rows(K), rows(N), K)
                        : lt().MatrixLayoutCreate(&p->a, data_type(b.type), rows(N), rows(K), N), "layout");
    require(transpose_a ? lt().MatrixLayoutCreate(&p->b, data_type(a.type), rows(M), rows(K), M)
                        : lt().MatrixLayoutCreate(&p->b, data_type(a.type), rows(K), rows(M), K), "layout");
    require(lt().MatrixLayoutCreate(&p->c, data_type(c.type), rows(N), rows(M), N), "layout");
    cublasLtMatmulPreference_t preference = nullptr;
    require(lt().MatmulPreferenceCreate(&preference), "preference");
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t what, const auto& value) {
      require(lt().MatmulPreferenceSetAttribute(preference, what, &value, sizeof value), "preference");
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, product_workspace_bytes);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, align_b);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, align_a);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, align_c);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, align_c);
    cublasLtMatmulHeuristicResult_t best{};
    int count = 0;
    const cublasStatus_t status = lt().MatmulAlgoGetHeuristic(handle(), p->product, p->a, p->b, p->c, p->c, preference, 1, &best, &count);
    lt().MatmulPreferenceDestroy(preference);
    p->found = status == CUBLAS_STATUS_SUCCESS && count == 1 && best.state == CUBLAS_STATUS_SUCCESS;
    p->algorithm = best.algo;
  }
  if (!p->found) return false;
  if (q.product_workspace == nullptr) q.product_workspace = q.allocate(product_workspace_bytes);
  require(lt().Matmul(handle(), p->product, &alpha, b.data, p->a, a.data, p->b, &beta, c.data, p->c, c.data, p->c, &p->algorithm,
                      q.product_workspace, product_workspace_bytes, q.stream), "product");
  return true;
}

}  // namespace plait::inline v0_1::cuda
