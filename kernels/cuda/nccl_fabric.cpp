// Ranks with a GPU each: as threads, which find each other in memory, and as processes, which do over their links.
#include "plait/kernels/nccl.hpp"

#include <cuda_runtime_api.h>

#include <condition_variable>
#include <map>

#if __has_include(<nccl.h>)
#include "plait/kernels/cuda/nccl_communicator.hpp"
#else
#include "plait/kernels/cuda/queue.hpp"
#endif

namespace plait::inline v0_1 {

int gpu_count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    cudaGetLastError();
    return 0;
  }
  return count;
}

void use_gpu(int device) { cuda::check(cudaSetDevice(device), "choosing a GPU"); }

std::string gpu_identity(int device) {
  cudaDeviceProp properties{};
  cuda::check(cudaGetDeviceProperties(&properties, device), "asking the GPU");
  static constexpr char digits[] = "0123456789abcdef";
  std::string text;
  for (const char byte : properties.uuid.bytes) {
    text += digits[(static_cast<unsigned char>(byte) >> 4) & 15u];
    text += digits[static_cast<unsigned char>(byte) & 15u];
  }
  return text;
}

#if __has_include(<nccl.h>)

namespace cuda {
namespace {

/// A rank's communicators, made as they are asked for.
class nccl_source final : public communicator_source {
 public:
  nccl_source(nccl_run& run, const mesh_shape& mesh, int rank) : run_(&run), mesh_(mesh), rank_(rank) {}
  any_communicator& group(std::uint32_t mask) override {
    std::unique_ptr<nccl_communicator>& c = made_[mask];
    if (c == nullptr) {
      int position = 0;
      std::vector<int> members = group_members(mesh_, rank_, mask, position);
      const std::string key = "nccl " + std::to_string(mask) + " of rank " + std::to_string(members.front());
      c = std::make_unique<nccl_communicator>(*run_, key, std::move(members), position);
    }
    return *c;
  }

 private:
  nccl_run* run_;
  mesh_shape mesh_;
  int rank_;
  std::map<std::uint32_t, std::unique_ptr<nccl_communicator>> made_;
};

class threads_fabric final : public rank_fabric {
 public:
  threads_fabric(const mesh_shape& mesh, nccl_options options) : mesh_(mesh), run_(options) {}
  void enter(int rank) override { check(cudaSetDevice(rank), "choosing a GPU"); }
  std::unique_ptr<communicator_source> open(int rank) override { return std::make_unique<nccl_source>(run_, mesh_, rank); }
  void leave(int) override {}

 private:
  void stop(int rank, std::exception_ptr why) override {
    try {
      std::rethrow_exception(why);
    } catch (const std::exception& e) {
      run_.fail("rank " + std::to_string(rank) + ": " + e.what());
    } catch (...) {
      run_.fail("rank " + std::to_string(rank) + " failed");
    }
  }

  class run final : public nccl_run {
   public:
    explicit run(nccl_options options) : nccl_run(options) {}
    ~run() override { stop_watching(); }
    void throw_failure() override {
      if (noticed_) throw std::runtime_error(reason());  // nobody threw it yet
      throw rank_released();
    }
    void set(const std::string& name, const std::string& value) override {
      std::lock_guard lock(mutex_);
      values_[name] = value;
      changed_.notify_all();
    }
    std::shared_ptr<launch_gate> gate(const std::string& key, int members) override {
      std::lock_guard lock(mutex_);
      std::shared_ptr<launch_gate>& one = gates_[key];
      if (one == nullptr) one = std::make_shared<launch_gate>(members);
      return one;
    }
    std::string get(const std::string& name) override {
      const process::time_limit limit(options().limit);
      std::unique_lock lock(mutex_);
      while (!values_.contains(name)) {
        check();
        if (limit.passed()) throw std::runtime_error("waited " + process::seconds_text(limit.seconds()) + " for the other ranks of a group; --deadline allows no more");
        changed_.wait_for(lock, std::chrono::milliseconds(50));
      }
      return values_.at(name);
    }

   private:
    void failed_here(const std::string& why) override { noticed_ = why.find("--deadline") != std::string::npos || why.find("NCCL reports") != std::string::npos; }
    std::mutex mutex_;
    std::condition_variable changed_;
    std::map<std::string, std::string> values_;
    std::map<std::string, std::shared_ptr<launch_gate>> gates_;
    std::atomic<bool> noticed_{false};
  };

  mesh_shape mesh_;
  run run_;
};

class processes_fabric final : public process_fabric {
 public:
  processes_fabric(process_world& world, const mesh_shape& mesh, int device, nccl_options options, std::function<int(std::exception_ptr)> exit_code_of)
      : process_fabric(world, std::move(exit_code_of)), mesh_(mesh), device_(device), run_(world, options) {
    world.links().on_failure([this](const std::string& why) { run_.fail(why); });
  }
  ~processes_fabric() override { world_->links().on_failure({}); }
  void enter(int) override { check(cudaSetDevice(device_), "choosing a GPU"); }
  std::unique_ptr<communicator_source> open(int rank) override { return std::make_unique<nccl_source>(run_, mesh_, rank); }

 private:
  void stop(int rank, std::exception_ptr why) override {
    process_fabric::stop(rank, why);
    run_.fail(world_->links().failure());
  }

  class run final : public nccl_run {
   public:
    run(process_world& world, nccl_options options) : nccl_run(options), world_(&world) {}
    ~run() override { stop_watching(); }
    void throw_failure() override { throw process_failed(reason(), world_->links().exit_code()); }
    void set(const std::string& name, const std::string& value) override { world_->links().set(name, value); }
    std::string get(const std::string& name) override {
      return world_->links().get(name, [] { return std::string("setting up a communicator"); });
    }

   private:
    void failed_here(const std::string& why) override { world_->links().fail(why); }
    process_world* world_;
  };

  mesh_shape mesh_;
  int device_;
  run run_;
};

}  // namespace
}  // namespace cuda

const char* nccl_missing() { return cuda::nccl().missing.empty() ? nullptr : cuda::nccl().missing.c_str(); }

std::string nccl_version() {
  const int v = cuda::nccl().version;
  return std::to_string(v / 10000) + "." + std::to_string(v / 100 % 100) + "." + std::to_string(v % 100);
}

std::unique_ptr<rank_fabric> nccl_threads(const mesh_shape& mesh, nccl_options options) {
  if (const char* missing = nccl_missing()) throw std::runtime_error(missing);
  if (mesh.ranks() > gpu_count())
    throw std::runtime_error("plait: " + std::to_string(mesh.ranks()) + " ranks with a GPU each, but there are " + std::to_string(gpu_count()) + " GPUs");
  return std::make_unique<cuda::threads_fabric>(mesh, options);
}

std::unique_ptr<rank_fabric> nccl_processes(process_world& world, const mesh_shape& mesh, int device, nccl_options options,
                                            std::function<int(std::exception_ptr)> exit_code_of) {
  if (const char* missing = nccl_missing()) throw launch_error(missing);
  world.agree({{"NCCL's version", nccl_version()}, {"who adds", options.sums == nccl_sums::library ? "NCCL" : "plait, in rank order"}});
  const std::vector<std::string> gpus = world.gather(gpu_identity(device), "comparing GPUs");
  for (std::size_t r = 0; r < gpus.size(); ++r)
    for (std::size_t s = 0; s < r; ++s)
      if (gpus[r] == gpus[s])
        throw launch_error("rank " + std::to_string(s) + " and rank " + std::to_string(r) + " use the same GPU (" + gpus[r] +
                           "), which NCCL does not allow; start one process a GPU, or use --local-rank or CUDA_VISIBLE_DEVICES");
  return std::make_unique<cuda::processes_fabric>(world, mesh, device, options, std::move(exit_code_of));
}

#else

const char* nccl_missing() { return "this program was built without NCCL; build it where nccl.h is found (apt: libnccl-dev, pip: nvidia-nccl-cu13)"; }
std::string nccl_version() { return "none"; }
std::unique_ptr<rank_fabric> nccl_threads(const mesh_shape&, nccl_options) { throw std::runtime_error(nccl_missing()); }
std::unique_ptr<rank_fabric> nccl_processes(process_world&, const mesh_shape&, int, nccl_options, std::function<int(std::exception_ptr)>) {
  throw launch_error(nccl_missing());
}

#endif

}  // namespace plait::inline v0_1
