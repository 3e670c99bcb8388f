// The table, queues, marks and faults.
#include "plait/kernels/cuda_backend.hpp"

#include <map>
#include <mutex>
#include <vector>

#include "plait/kernels/cuda/ops.hpp"
#include "plait/kernels/cuda/queue.hpp"

namespace plait::inline v0_1 {
namespace cuda {
namespace {

struct mark_point {
  cudaEvent_t event = nullptr;
  int device = 0;
};

/// Events, taken and given back many times a step; each belongs to a device.
class event_pool {
 public:
  mark_point* take(int device) {
    {
      std::lock_guard lock(mutex_);
      std::vector<mark_point*>& free = free_[device];
      if (!free.empty()) {
        mark_point* const m = free.back();
        free.pop_back();
        return m;
      }
    }
    cudaEvent_t e = nullptr;
    check(cudaEventCreateWithFlags(&e, cudaEventDisableTiming), "making an event");
    return new mark_point{e, device};
  }
  void give(mark_point* m) {
    std::lock_guard lock(mutex_);
    free_[m->device].push_back(m);
  }

 private:
  std::mutex mutex_;
  std::map<int, std::vector<mark_point*>> free_;  // left to the end of the program, when the driver may be gone already
};
event_pool& events() {
  static event_pool one;
  return one;
}

void* open_queue() { return new queue; }
void close_queue(void* q) { delete static_cast<queue*>(q); }
void* mark(const execution& ex) {
  const queue& q = queue_of(ex);
  mark_point* const m = events().take(q.device);
  check(cudaEventRecord(m->event, q.stream), "recording an event");
  return m;
}
void wait_mark(const execution& ex, void* m) {
  check(cudaStreamWaitEvent(queue_of(ex).stream, static_cast<mark_point*>(m)->event, 0), "waiting for an event");
}
void release_mark(void* m) { events().give(static_cast<mark_point*>(m)); }

void clear_faults(const execution& ex) {
  queue& q = queue_of(ex);
  check(cudaMemsetAsync(q.faults, 0xff, sizeof *q.faults, q.stream), "clearing faults");
  if (ex.faults != nullptr) ex.faults->clear();
}
void read_faults(const execution& ex) {
  queue& q = queue_of(ex);
  unsigned long long word = 0;
  check(cudaMemcpyAsync(&word, q.faults, sizeof word, cudaMemcpyDeviceToHost, q.stream), "reading faults");
  q.wait();
  if (word != ~0ull && ex.faults != nullptr) ex.faults->raise(static_cast<fault>(word & 15u), static_cast<std::int64_t>(word >> 4));
}

void* allocate(void* q, std::size_t bytes) {
  if (q == nullptr) throw std::logic_error("plait: the CUDA backend was called without a queue");
  return static_cast<queue*>(q)->allocate(bytes);
}
void release(void* q, void* pointer, std::size_t) {
  if (q != nullptr) static_cast<queue*>(q)->memory.release(pointer);
}

}  // namespace

bool has_reached(void* mark) {
  if (mark == nullptr) return false;
  const bool reached = cudaEventQuery(static_cast<mark_point*>(mark)->event) == cudaSuccess;
  cudaGetLastError();  // "not yet" is no error
  return reached;
}

}  // namespace cuda

const char* cuda_missing() {
  static const std::string missing = [] {
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    cudaGetLastError();
    if (error != cudaSuccess) return std::string("CUDA finds no GPU (") + cudaGetErrorString(error) + ")";
    if (count == 0) return std::string("CUDA finds no GPU");
    int device = 0, major = 0, minor = 0;
    if (cudaGetDevice(&device) != cudaSuccess || cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) != cudaSuccess ||
        cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) != cudaSuccess)
      return std::string("the GPU does not answer");
    const std::string capability = "the GPU's compute capability is " + std::to_string(major) + "." + std::to_string(minor);
    if (major < 8) return capability + "; the kernels need 8.0 or later";
    if (!cuda::built_for_this_device())
      return capability + ", for which this program has no kernels; configure it with -DCMAKE_CUDA_ARCHITECTURES=" + std::to_string(10 * major + minor);
    if (const char* blas = cuda::blas_missing()) return std::string(blas);
    return std::string();
  }();
  return missing.empty() ? nullptr : missing.c_str();
}

const backend& cuda_backend() {
  static constexpr backend table{
      .name = "cuda",
      .open_queue = cuda::open_queue,
      .close_queue = cuda::close_queue,
      .mark = cuda::mark,
      .wait_mark = cuda::wait_mark,
      .release_mark = cuda::release_mark,
      .clear_faults = cuda::clear_faults,
      .read_faults = cuda::read_faults,
      .allocate = cuda::allocate,
      .release = cuda::release,
      .copy = cuda::copy,
      .copy_box = cuda::copy_box,
      .fill = cuda::fill,
      .cast = cuda::cast,
      .add = cuda::add,
      .accumulate = cuda::accumulate,
      .scale = cuda::scale,
      .clamp = cuda::clamp,
      .clamp_gradient = cuda::clamp_gradient,
      .reduce = cuda::reduce,
      .matmul = cuda::matmul,
      .bias_add = cuda::bias_add,
      .bias_gradient = cuda::bias_gradient,
      .embedding = cuda::embedding,
      .embedding_gradient = cuda::embedding_gradient,
      .rms_norm = cuda::rms_norm,
      .rms_norm_gradient = cuda::rms_norm_gradient,
      .centre_rows = cuda::centre_rows,
      .rope = cuda::rope,
      .attention = cuda::attention,
      .attention_gradient = cuda::attention_gradient,
      .attention_sinks = cuda::attention_sinks,
      .attention_sinks_gradient = cuda::attention_sinks_gradient,
      .split_columns = cuda::split_columns,
      .join_columns = cuda::join_columns,
      .repeat_heads = cuda::repeat_heads,
      .repeat_heads_gradient = cuda::repeat_heads_gradient,
      .swiglu = cuda::swiglu,
      .swiglu_gradient = cuda::swiglu_gradient,
      .swiglu_pair = cuda::swiglu_pair,
      .swiglu_pair_gradient = cuda::swiglu_pair_gradient,
      .gate_rows = cuda::gate_rows,
      .gate_rows_gradient = cuda::gate_rows_gradient,
      .router = cuda::router,
      .router_gradient = cuda::router_gradient,
      .dispatch_plan = cuda::dispatch_plan,
      .exchange_plan = cuda::exchange_plan,
      .gather_rows = cuda::gather_rows,
      .gather_rows_gradient = cuda::gather_rows_gradient,
      .combine = cuda::combine,
      .combine_gradient = cuda::combine_gradient,
      .grouped_matmul = cuda::grouped_matmul,
      .grouped_input_gradient = cuda::grouped_input_gradient,
      .grouped_weight_gradient = cuda::grouped_weight_gradient,
      .expert_bias = cuda::expert_bias,
      .expert_bias_gradient = cuda::expert_bias_gradient,
      .router_statistics = cuda::router_statistics,
      .router_statistics_gradient = cuda::router_statistics_gradient,
      .balance = cuda::balance,
      .balance_gradient = cuda::balance_gradient,
      .argmax = cuda::argmax,
      .row_maximum = cuda::row_maximum,
      .cross_entropy_parts = cuda::cross_entropy_parts,
      .cross_entropy_parts_gradient = cuda::cross_entropy_parts_gradient,
      .cross_entropy_sum = cuda::cross_entropy_sum,
      .cross_entropy_sum_gradient = cuda::cross_entropy_sum_gradient,
      .adamw = cuda::adamw,
      .sum_of_squares = cuda::sum_of_squares,
  };
  return table;
}

}  // namespace plait::inline v0_1
