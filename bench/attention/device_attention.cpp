// Causal attention in bf16 on a GPU: milliseconds of the forward and of the gradients, one line a shape, for compare.py.
// Usage: bench_attention BATCH,TOKENS,HEADS,KEY_HEADS,WIDTH,VALUE_WIDTH ... [--calls N]
#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "plait/kernels/cuda_backend.hpp"
#include "plait/runtime/buffer.hpp"
#include "plait/runtime/queue.hpp"

namespace pl = plait;

namespace {

struct device_tensor {
  pl::view v;
  pl::buffer memory;
  device_tensor(const pl::backend& ops, const pl::execution& ex, pl::dtype type, std::array<std::int64_t, 4> extent, double range)
      : memory(ops, ex.queue, static_cast<std::size_t>(extent[0] * extent[1] * extent[2] * extent[3]) * pl::size_of(type)) {
    v.data = memory.data();
    v.type = type;
    v.rank = 4;
    for (int d = 0; d < 4; ++d) v.extent[d] = extent[static_cast<std::size_t>(d)];
    static std::minstd_rand generator(1);
    std::vector<float> values(static_cast<std::size_t>(v.size()));
    for (float& x : values) x = static_cast<float>(range * (static_cast<double>(generator()) / static_cast<double>(std::minstd_rand::max()) * 2 - 1));
    pl::view host = v;
    host.data = values.data();
    host.type = pl::dtype::f32;
    ops.cast(ex, host, v);
  }
};

template <class Work>
double milliseconds(const pl::backend& ops, const pl::execution& ex, int calls, Work work) {
  work();
  ops.read_faults(ex);
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < calls; ++i) work();
  ops.read_faults(ex);  // waits
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count() / calls;
}

}  // namespace

int main(int count, char** arguments) {
  int calls = 20;
  std::vector<std::array<std::int64_t, 6>> shapes;
  for (int i = 1; i < count; ++i) {
    std::array<long long, 6> s{};
    if (std::strcmp(arguments[i], "--calls") == 0 && i + 1 < count) calls = std::max(1, std::atoi(arguments[++i]));
    else if (std::sscanf(arguments[i], "%lld,%lld,%lld,%lld,%lld,%lld", &s[0], &s[1], &s[2], &s[3], &s[4], &s[5]) == 6) shapes.push_back({s[0], s[1], s[2], s[3], s[4], s[5]});
    else return std::fprintf(stderr, "usage: %s BATCH,TOKENS,HEADS,KEY_HEADS,WIDTH,VALUE_WIDTH ... [--calls N]\n", arguments[0]), 2;
  }
  if (const char* missing = pl::cuda_missing()) return std::fprintf(stderr, "%s\n", missing), 77;
  const pl::backend& ops = pl::cuda_backend();
  pl::queue_owner queue{ops};
  pl::fault_record faults;
  pl::execution ex;
  ex.queue = queue.get();
  ex.faults = &faults;
  for (const auto& [batch, tokens, heads, key_heads, width, value_width] : shapes) {
    const auto make = [&](std::int64_t of, std::int64_t w, double range) { return device_tensor(ops, ex, pl::dtype::bf16, {batch, tokens, of, w}, range); };
    device_tensor q = make(heads, width, 2), k = make(key_heads, width, 2), v = make(key_heads, value_width, 1), out = make(heads, value_width, 1),
                  dout = make(heads, value_width, 1), dq = make(heads, width, 1), dk = make(key_heads, width, 1), dv = make(key_heads, value_width, 1);
    device_tensor lse(ops, ex, pl::dtype::f32, {1, batch, heads, tokens}, 1);
    pl::view sums = lse.v;
    sums.rank = 3;
    for (int d = 0; d < 3; ++d) sums.extent[d] = lse.v.extent[d + 1];
    const double scale = 1 / std::sqrt(static_cast<double>(width));
    const double forward = milliseconds(ops, ex, calls, [&] { ops.attention(ex, q.v, k.v, v.v, pl::view{}, tokens, scale, out.v, sums); });
    const double backward = milliseconds(ops, ex, calls, [&] { ops.attention_gradient(ex, q.v, k.v, v.v, pl::view{}, scale, out.v, sums, dout.v, dq.v, dk.v, dv.v); });
    std::printf("%lld,%lld,%lld,%lld,%lld,%lld %.4f %.4f\n", static_cast<long long>(batch), static_cast<long long>(tokens), static_cast<long long>(heads),
                static_cast<long long>(key_heads), static_cast<long long>(width), static_cast<long long>(value_width), forward, backward);
  }
}
