#pragma once
// Hopper's asynchronous machinery, one instruction a function: mbarriers, the bulk tensor copy engine, fences, clusters.
#include <cstdint>

#include <cuda.h>
#ifdef PLAIT_KERNEL_WATCHDOG
#include <cstdio>
#endif

#include "plait/kernels/ptx_sm80.cuh"

namespace plait::inline v0_1::kernels::ptx {

// --- mbarriers ---------------------------------------------------------------------------------------------------

__device__ __forceinline__ void barrier_init(std::uint32_t barrier, std::uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

__device__ __forceinline__ void barrier_init_fence() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

__device__ __forceinline__ bool barrier_try_wait(std::uint32_t barrier, std::uint32_t parity) {
  std::uint32_t done;
  asm volatile(
      "{\n .reg .pred p;\n mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n selp.u32 %0, 1, 0, p;\n}"
      : "=r"(done)
      : "r"(barrier), "r"(parity)
      : "memory");
  return done != 0;
}

// PLAIT_KERNEL_WATCHDOG turns a deadlock into a trap (tests are built with it).
__device__ __forceinline__ void barrier_wait(std::uint32_t barrier, std::uint32_t parity) {
#ifdef PLAIT_KERNEL_WATCHDOG
  const long long start = clock64();
  while (!barrier_try_wait(barrier, parity)) {
    if (clock64() - start > 4000000000ll) {
      printf("stuck: block %d thread %d barrier %x parity %u\n", blockIdx.x, threadIdx.x, barrier & 0x3ffff, parity);
      asm volatile("trap;");
    }
  }
#else
  while (!barrier_try_wait(barrier, parity)) {
  }
#endif
}

__device__ __forceinline__ void barrier_arrive(std::uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

__device__ __forceinline__ void barrier_arrive_expect(std::uint32_t barrier, std::uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

// Arrives on the barrier at the same shared-memory offset of another CTA of the cluster.
__device__ __forceinline__ void barrier_arrive_remote(std::uint32_t barrier, std::uint32_t rank) {
  asm volatile(
      "{\n .reg .b32 remote;\n mapa.shared::cluster.u32 remote, %0, %1;\n"
      " mbarrier.arrive.shared::cluster.b64 _, [remote];\n}" ::"r"(barrier),
      "r"(rank)
      : "memory");
}

// Sends a word to the same offset of another CTA of the cluster; completes 4 bytes on its barrier.
__device__ __forceinline__ void send_word(std::uint32_t address, std::uint32_t value, std::uint32_t barrier, std::uint32_t rank) {
  asm volatile(
      "{\n .reg .b32 to, signal;\n mapa.shared::cluster.u32 to, %0, %3;\n mapa.shared::cluster.u32 signal, %2, %3;\n"
      " st.async.shared::cluster.mbarrier::complete_tx::bytes.b32 [to], %1, [signal];\n}" ::"r"(address),
      "r"(value), "r"(barrier), "r"(rank)
      : "memory");
}

// --- clusters and named barriers ---------------------------------------------------------------------------------

__device__ __forceinline__ std::uint32_t cluster_rank() {
  std::uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

__device__ __forceinline__ void cluster_sync() {
  asm volatile("barrier.cluster.arrive.release.aligned;\n barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

__device__ __forceinline__ void named_barrier(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

__device__ __forceinline__ void named_barrier_arrive(int id, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

template <int Registers>
__device__ __forceinline__ void registers_grow() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Registers));
}

template <int Registers>
__device__ __forceinline__ void registers_shrink() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Registers));
}

// --- bulk tensor copies ------------------------------------------------------------------------------------------

__device__ __forceinline__ void prefetch_tensor_map(const CUtensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

__device__ __forceinline__ void tensor_load(std::uint32_t destination, const CUtensorMap* map, std::uint32_t barrier, int c0,
                                            int c1, int c2) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], [%2];" ::"r"(
          destination),
      "l"(map), "r"(barrier), "r"(c0), "r"(c1), "r"(c2)
      : "memory");
}

// Writes the box at the same offset of every CTA named in the mask and completes on each one's own barrier.
__device__ __forceinline__ void tensor_load_multicast(std::uint32_t destination, const CUtensorMap* map, std::uint32_t barrier,
                                                      int c0, int c1, int c2, std::uint16_t mask) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster"
      " [%0], [%1, {%3, %4, %5}], [%2], %6;" ::"r"(destination),
      "l"(map), "r"(barrier), "r"(c0), "r"(c1), "r"(c2), "h"(mask)
      : "memory");
}

__device__ __forceinline__ void tensor_store(const CUtensorMap* map, std::uint32_t source, int c0, int c1, int c2) {
  asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.bulk_group [%0, {%2, %3, %4}], [%1];" ::"l"(map), "r"(source),
               "r"(c0), "r"(c1), "r"(c2)
               : "memory");
}

// Adds f32 in L2.
__device__ __forceinline__ void tensor_add(const CUtensorMap* map, std::uint32_t source, int c0, int c1, int c2) {
  asm volatile("cp.reduce.async.bulk.tensor.3d.global.shared::cta.add.bulk_group [%0, {%2, %3, %4}], [%1];" ::"l"(map),
               "r"(source), "r"(c0), "r"(c1), "r"(c2)
               : "memory");
}

__device__ __forceinline__ void store_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }

// Returns when at most Pending of this thread's store groups still read shared memory.
template <int Pending>
__device__ __forceinline__ void store_wait_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(Pending) : "memory");
}

__device__ __forceinline__ void store_wait_all() { asm volatile("cp.async.bulk.wait_group 0;" ::: "memory"); }

// Makes this thread's ordinary shared-memory writes visible to the copy engine and the tensor cores.
__device__ __forceinline__ void fence_async_shared() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// Orders ordinary accesses and the copy engine's, in device memory too.
__device__ __forceinline__ void fence_async() { asm volatile("fence.proxy.async;" ::: "memory"); }

// --- words in device memory that pass a turn between CTAs -----------------------------------------------------------

__device__ __forceinline__ unsigned load_acquire(const unsigned* word) {
  unsigned value;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(word) : "memory");
  return value;
}

__device__ __forceinline__ void store_release(unsigned* word, unsigned value) {
  asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(word), "r"(value) : "memory");
}

// --- shared-memory stores ----------------------------------------------------------------------------------------

__device__ __forceinline__ void store_matrices(std::uint32_t address, std::uint32_t m0, std::uint32_t m1, std::uint32_t m2,
                                               std::uint32_t m3) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(m0), "r"(m1), "r"(m2),
               "r"(m3)
               : "memory");
}

// The same, each matrix transposed.
__device__ __forceinline__ void store_matrices_transposed(std::uint32_t address, std::uint32_t m0, std::uint32_t m1, std::uint32_t m2,
                                                          std::uint32_t m3) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(m0), "r"(m1), "r"(m2),
               "r"(m3)
               : "memory");
}

__device__ __forceinline__ void store_shared(std::uint32_t address, float x, float y) {
  asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(address), "f"(x), "f"(y) : "memory");
}

__device__ __forceinline__ float2 load_shared(std::uint32_t address) {
  float2 value;
  asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(value.x), "=f"(value.y) : "r"(address) : "memory");
  return value;
}

__device__ __forceinline__ void store_shared_zero16(std::uint32_t address) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(address), "r"(0) : "memory");
}

__device__ __forceinline__ uint4 load_shared16(std::uint32_t address) {
  uint4 value;
  asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "r"(address)
               : "memory");
  return value;
}

}  // namespace plait::inline v0_1::kernels::ptx
