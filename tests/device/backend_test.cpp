// Every function of the CUDA table against the CPU's, on random shapes, empty ones too. Each call runs twice on the device: the results
// must be equal bit for bit. Exits with 77 (skipped) where there is no GPU.
#define DOCTEST_CONFIG_IMPLEMENT
#include "unit/cpu/support.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "plait/kernels/cuda_backend.hpp"
#include "plait/runtime/buffer.hpp"
#include "plait/runtime/queue.hpp"
#include "support/cpu_backend.hpp"

using namespace cpu_test;
const backend& cpu_test::cpu = test_backend();

namespace {

struct device {
  const backend& ops = cuda_backend();
  queue_owner queue{ops};
  fault_record faults;
  execution ex;
  device() {
    ex.queue = queue.get();
    ex.faults = &faults;
  }
};
std::unique_ptr<device> opened;
device& gpu() { return *opened; }

std::size_t bytes_of(const tensor& t) { return static_cast<std::size_t>(t.size()) * size_of(t.type); }

/// One tensor on both sides. Outputs start with the same content on both, so that what must not be written shows, too.
struct twin {
  tensor start, want, got;
  std::unique_ptr<buffer> memory;

  twin(tensor t) : start(std::move(t)), want(start), got(start) {
    memory = std::make_unique<buffer>(gpu().ops, gpu().ex.queue, bytes_of(start) + 64);
  }
  view on_device() {
    view v = start.v();
    v.data = memory->data();
    return v;
  }
  void send() { gpu().ops.copy(gpu().ex, memory->data(), start.storage.data(), bytes_of(start)); }
  void fetch(tensor& to) { gpu().ops.copy(gpu().ex, to.storage.data(), memory->data(), bytes_of(start)); }
};

twin zero(dtype type, std::vector<i64> extent) { return twin(tensor(type, std::move(extent))); }
twin noise(dtype type, std::vector<i64> extent, double low = -1, double high = 1) { return twin(random(type, std::move(extent), low, high)); }

struct no_view {};
constexpr no_view none{};
view on_cpu(twin& t) { return t.want.v(); }
view on_cpu(no_view) { return view{}; }
view on_gpu(twin& t) { return t.on_device(); }
view on_gpu(no_view) { return view{}; }
template <class T>
T on_cpu(T value) {
  return value;
}
template <class T>
T on_gpu(T value) {
  return value;
}
template <class F>
void each_twin(F&&) {}
template <class F, class A, class... Rest>
void each_twin(F&& f, A& first, Rest&... rest) {
  if constexpr (std::is_same_v<std::remove_cvref_t<A>, twin>) f(first);
  each_twin(f, rest...);
}

/// Runs a function of the table on both sides.
template <class Function, class... A>
void call(Function backend::*function, A&&... arguments) {
  fault_record faults;
  execution ex;
  ex.faults = &faults;
  each_twin([](twin& t) { t.want = t.start; }, arguments...);
  (cpu.*function)(ex, on_cpu(arguments)...);
  bool same = true;
  for (int run = 0; run < 2; ++run) {
    gpu().ops.clear_faults(gpu().ex);
    each_twin([](twin& t) { t.send(); }, arguments...);
    (gpu().ops.*function)(gpu().ex, on_gpu(arguments)...);
    gpu().ops.read_faults(gpu().ex);
    each_twin([&](twin& t) {
      tensor now = t.start;
      t.fetch(now);
      if (run == 1) same = same && same_bytes(now, t.got);
      t.got = now;
    }, arguments...);
  }
  CHECK_MESSAGE(same, "two runs differ");
  CHECK(gpu().faults.kind() == faults.kind());
  if (faults.kind() != fault::none) CHECK(gpu().faults.where() == faults.where());
}

/// Relative L2 distance of the device's result from the CPU's; NaN counts where only one has it.
double distance(const twin& t) {
  double d = 0, n = 0;
  for (i64 i = 0; i < t.want.size(); ++i) {
    const double a = t.got[i], b = t.want[i];
    if ((std::isnan(a) && std::isnan(b)) || (std::isinf(b) && a == b)) continue;
    d += (a - b) * (a - b);
    n += b * b;
  }
  if (!(d > 0)) return d;
  return std::sqrt(d / (n > 0 ? n : 1));
}
std::string shape_of(const twin& t) {
  std::string s = name_of(t.start.type);
  for (const i64 e : t.start.extent) s += " " + std::to_string(e);
  return s;
}
void close(const twin& t, double allowed) {
  const double d = distance(t);
  CHECK_MESSAGE(d <= allowed, shape_of(t), ": differs by ", d);
}
void equal(const twin& t) { CHECK_MESSAGE(same_bytes(t.got, t.want), shape_of(t), ": differs by ", distance(t)); }

double near(dtype type) { return type == dtype::bf16 ? 4e-3 : 2e-6; }
i64 any(i64 low, i64 high) { return low + static_cast<i64>(generator()() % static_cast<unsigned long>(high - low + 1)); }
constexpr dtype types[] = {dtype::f32, dtype::bf16};
constexpr dtype all_types[] = {dtype::f32, dtype::f64, dtype::bf16, dtype::i32, dtype::i64, dtype::u8};

twin random_integers(dtype type, std::vector<i64> extent, i64 low, i64 high) {
  tensor t(type, std::move(extent));
  for (i64 i = 0; i < t.size(); ++i) t.set(i, static_cast<double>(any(low, high)));
  return twin(std::move(t));
}

}  // namespace

TEST_CASE("memory: allocation, copies between host and device, boxes, fills, casts") {
  const backend& b = gpu().ops;
  std::vector<std::pair<void*, std::size_t>> held;
  for (int i = 0; i < 2000; ++i) {
    if (!held.empty() && any(0, 2) == 0) {
      const std::size_t at = static_cast<std::size_t>(any(0, static_cast<i64>(held.size()) - 1));
      b.release(gpu().ex.queue, held[at].first, held[at].second);
      held[at] = held.back();
      held.pop_back();
      continue;
    }
    const std::size_t bytes = static_cast<std::size_t>(any(0, 3) == 0 ? any(0, 4 << 20) : any(0, 5000));
    held.push_back({b.allocate(gpu().ex.queue, bytes), bytes});
  }
  std::sort(held.begin(), held.end());
  bool apart = true;
  for (std::size_t i = 0; i + 1 < held.size(); ++i)
    apart = apart && static_cast<char*>(held[i].first) + held[i].second <= held[i + 1].first && held[i].first != held[i + 1].first;
  CHECK(apart);
  for (const auto& [at, bytes] : held) b.release(gpu().ex.queue, at, bytes);
  b.release(gpu().ex.queue, nullptr, 0);

  for (const i64 n : {0, 1, 1000, 3000000}) {  // the last is larger than the staging memory
    tensor from = random(dtype::f32, {n}), back(dtype::f32, {n});
    const buffer memory(b, gpu().ex.queue, bytes_of(from));
    for (int turn = 0; turn < 5; ++turn) b.copy(gpu().ex, memory.data(), from.storage.data(), bytes_of(from));
    b.copy(gpu().ex, back.storage.data(), memory.data(), bytes_of(from));
    CHECK(same_bytes(from, back));
  }
  for (int i = 0; i < 60; ++i) {
    const dtype type = all_types[any(0, 5)];
    const int rank = static_cast<int>(any(1, 4));
    i64 to_extent[max_rank] = {}, from_extent[max_rank] = {}, to_start[max_rank] = {}, from_start[max_rank] = {}, count[max_rank] = {};
    std::vector<i64> to_shape, from_shape;
    for (int d = 0; d < rank; ++d) {
      count[d] = i == 0 ? 0 : any(1, 9);
      to_extent[d] = count[d] + any(0, 2), from_extent[d] = count[d] + any(0, 2);
      if (any(0, 1) == 0) to_extent[d] = from_extent[d] = count[d];
      to_start[d] = any(0, to_extent[d] - count[d]), from_start[d] = any(0, from_extent[d] - count[d]);
      to_shape.push_back(to_extent[d]), from_shape.push_back(from_extent[d]);
    }
    twin to = random_integers(type, to_shape, 0, 100), from = random_integers(type, from_shape, 0, 100);
    cpu.copy_box(plain, to.want.storage.data(), to_extent, to_start, from.start.storage.data(), from_extent, from_start, count, rank,
                 size_of(type));
    for (const bool host : {false, true}) {
      to.send();
      from.send();
      b.copy_box(gpu().ex, to.memory->data(), to_extent, to_start,
                 host ? static_cast<const void*>(from.start.storage.data()) : from.memory->data(), from_extent, from_start, count, rank,
                 size_of(type));
      to.fetch(to.got);
      equal(to);
    }
  }
  for (const dtype type : all_types)
    for (const i64 n : {0, 1, 77, 4096}) {
      twin t = zero(type, {n});
      call(&backend::fill, t, 3.0);
      equal(t);
      for (const dtype other : types) {
        twin from = random_integers(type, {n}, 0, 90), to = noise(other, {n});
        call(&backend::cast, from, to);
        equal(to);
        tensor host(other, {n});
        b.cast(gpu().ex, from.on_device(), host.v());
        CHECK(same_bytes(host, to.want));
      }
    }
}

TEST_CASE("element by element") {
  for (const dtype type : types)
    for (const i64 n : {0, 1, 5, 64, 1000, 70001}) {
      twin a = noise(type, {n}), c = noise(type, {n}), out = noise(type, {n});
      call(&backend::add, a, c, out);
      equal(out);
      call(&backend::add, a, c, a);
      equal(a);
      call(&backend::scale, a, 0.37);
      equal(a);
      call(&backend::clamp_gradient, a, c, 0.2, out);
      equal(out);
      call(&backend::clamp, a, 0.2, a);
      equal(a);
      for (const dtype to : types) {
        twin sum = noise(to, {n});
        call(&backend::accumulate, a, sum);
        equal(sum);
      }
      twin total = zero(dtype::f64, {1});
      total.start.set(0, 2.5);
      call(&backend::sum_of_squares, a, total);
      close(total, 1e-13);
    }
  for (const dtype type : all_types)
    for (const bool maximum : {false, true})
      for (const i64 n : {0, 3, 1000}) {
        std::vector<twin> from;
        for (int i = 0; i < 5; ++i) from.push_back(random_integers(type, {n}, 0, 40));
        if (n > 0 && type == dtype::f32) from[2].start.set(1, std::nan(""));
        twin out = zero(type, {n});
        std::vector<const void*> on_host, on_device;
        for (twin& t : from) {
          t.send();
          on_host.push_back(t.start.storage.data());
          on_device.push_back(t.memory->data());
        }
        cpu.reduce(plain, on_host.data(), 5, out.want.v(), maximum);
        gpu().ops.reduce(gpu().ex, on_device.data(), 5, out.on_device(), maximum);
        out.fetch(out.got);
        CHECK(distance(out) == 0);
      }
}

TEST_CASE("bias, gated activation, rotary embedding") {
  for (const dtype type : types)
    for (const auto& [rows, n] : {std::pair<i64, i64>{0, 8}, {1, 1}, {7, 13}, {300, 64}, {1000, 384}}) {
      twin x = noise(type, {rows, n}), bias = noise(type, {n}), out = noise(type, {rows, n}), dbias = noise(dtype::f32, {n});
      call(&backend::bias_add, x, bias, out);
      equal(out);
      call(&backend::bias_gradient, x, dbias);
      close(dbias, 1e-6);
      twin packed = noise(type, {rows, 2 * n}, -4, 4), y = noise(type, {rows, n}), dy = noise(type, {rows, n}),
           dpacked = noise(type, {rows, 2 * n});
      call(&backend::swiglu, packed, gated_options{}, y);
      close(y, near(type));
      call(&backend::swiglu_gradient, packed, dy, gated_options{}, dpacked);
      close(dpacked, near(type));
      for (const gated_options& o : {gated_options{.interleaved = true}, {.interleaved = true, .alpha = 1.702, .offset = 1, .limit = 2.5}, {.limit = 3}}) {
        call(&backend::swiglu, packed, o, y);
        close(y, near(type));
        call(&backend::swiglu_gradient, packed, dy, o, dpacked);
        close(dpacked, near(type));
      }
      twin up = noise(type, {rows, n}), dgate = noise(type, {rows, n}), dup = noise(type, {rows, n});
      call(&backend::swiglu_pair, x, up, y);
      close(y, near(type));
      call(&backend::swiglu_pair_gradient, x, up, dy, dgate, dup);
      close(dgate, near(type));
      close(dup, near(type));
      twin one = noise(type, {rows, 1}, -4, 4), done = noise(type, {rows, 1});
      call(&backend::gate_rows, x, one, y);
      close(y, near(type));
      call(&backend::gate_rows_gradient, x, one, dy, dup, done);
      close(dup, near(type));
      close(done, type == dtype::f32 ? 2e-5 : near(type));  // a sum over the row
    }
  struct turning {
    std::vector<i64> extent;
    i64 half, first;
  };
  const turning turnings[] = {{{0, 4, 2, 8}, 4, 0}, {{1, 1, 1, 2}, 1, 0},    {{2, 5, 3, 6}, 3, 0},    {{2, 33, 4, 64}, 32, 0},
                              {{2, 9, 3, 7}, 2, 1}, {{1, 21, 5, 48}, 8, 32}, {{2, 7, 2, 192}, 32, 128}, {{1, 3, 2, 64}, 16, 0}};
  for (const dtype type : types)
    for (const auto& [e, half, first] : turnings)
      for (const bool interleaved : {false, true}) {
        twin x = noise(type, e), y = noise(type, e), cosine = noise(dtype::f32, {e[0], e[1], half}), sine = noise(dtype::f32, {e[0], e[1], half});
        for (const bool inverse : {false, true}) {
          call(&backend::rope, x, cosine, sine, rotary_form{first, interleaved}, inverse, y);
          close(y, near(type));
        }
      }
}

TEST_CASE("columns and heads") {
  for (const dtype type : types) {
    for (const auto& [rows, a, b] : {std::tuple<i64, i64, i64>{0, 8, 8}, {1, 1, 1}, {7, 13, 5}, {300, 512, 64}, {1000, 128, 128}}) {
      twin x = noise(type, {rows, a + b}), left = noise(type, {rows, a}), right = noise(type, {rows, b});
      call(&backend::split_columns, x, left, right);
      equal(left);
      equal(right);
      call(&backend::split_columns, x, none, right);
      equal(right);
      call(&backend::join_columns, left, right, x);
      equal(x);
    }
    struct repeated {
      i64 rows, have, times, first, take, width;
    };
    for (const repeated& s : {repeated{0, 1, 4, 0, 4, 8}, {5, 1, 8, 3, 2, 7}, {70, 2, 3, 1, 4, 64}, {33, 1, 16, 0, 16, 64}, {9, 3, 1, 0, 3, 5}, {4, 2, 3, 0, 0, 8}}) {
      twin x = noise(type, {s.rows, s.have, s.width}), y = noise(type, {s.rows, s.take, s.width});
      call(&backend::repeat_heads, x, s.first, s.times, y);
      equal(y);
      twin dx = noise(type, x.start.extent);
      call(&backend::repeat_heads_gradient, y, s.first, s.times, dx);
      close(dx, near(type));
    }
  }
}

TEST_CASE("norm") {
  for (const dtype type : types)
    for (const auto& [rows, n] : {std::pair<i64, i64>{0, 8}, {1, 3}, {5, 13}, {4097, 16}, {1000, 128}, {33, 2048}, {7, 1001}, {3, 8192}}) {
      twin x = noise(type, {rows, n}), w = noise(type, {n}), y = noise(type, {rows, n}), inverse = noise(dtype::f32, {rows});
      call(&backend::rms_norm, x, w, 1e-5, y, inverse);
      close(y, near(type));
      close(inverse, 1e-6);
      inverse.start = inverse.want;
      twin dy = noise(type, {rows, n}), dx = noise(type, {rows, n}), dweight = noise(dtype::f32, {n});
      call(&backend::rms_norm_gradient, x, w, inverse, dy, dx, dweight);
      close(dx, near(type));
      close(dweight, 2e-6);
      call(&backend::rms_norm_gradient, x, w, inverse, dy, none, dweight);
      close(dweight, 2e-6);
      call(&backend::rms_norm_gradient, x, w, inverse, dy, dx, none);
      close(dx, near(type));
      call(&backend::centre_rows, x, y);
      close(y, near(type));
    }
}

TEST_CASE("dense products") {
  for (const dtype type : types)
    for (int i = 0; i < 30; ++i) {
      const i64 M = i < 3 ? (i == 0 ? 0 : any(1, 9)) : any(1, 300), N = i == 1 ? 0 : any(1, 300),
                K = i == 2 ? 0 : (any(0, 1) ? any(1, 300) : 8 * any(1, 60));
      for (const bool ta : {false, true})
        for (const bool tb : {false, true})
          for (const bool add : {false, true}) {
            twin a = noise(type, ta ? std::vector<i64>{K, M} : std::vector<i64>{M, K}),
                 b = noise(type, tb ? std::vector<i64>{N, K} : std::vector<i64>{K, N});
            twin c = noise(add ? dtype::f32 : type, {M, N});
            call(&backend::matmul, a, ta, b, tb, c, add);
            close(c, c.start.type == dtype::f32 ? 3e-6 : 4e-3);
          }
    }
}

TEST_CASE("embedding") {
  for (const dtype type : types)
    for (const auto& [tokens, held, width] :
         {std::tuple<i64, i64, i64>{0, 10, 8}, {1, 1, 1}, {500, 7, 33}, {3000, 256, 64}, {2500, 5000, 40}, {100, 0, 8}}) {
      const i64 first = any(0, 5), vocabulary = first + held + any(0, 5) + 1;
      twin ids = random_integers(dtype::i64, {tokens}, 0, vocabulary - 1);
      twin table = noise(type, {held, width}), out = noise(type, {tokens, width});
      call(&backend::embedding, ids, table, first, vocabulary, out);
      equal(out);
      twin dy = noise(type, {tokens, width}), dtable = noise(dtype::f32, {held, width});
      call(&backend::embedding_gradient, ids, dy, first, dtable);
      equal(dtable);  // the same sums in the same order
      if (tokens < 3) continue;
      for (const i64 wild : {i64{-1}, vocabulary, std::numeric_limits<i64>::min(), std::numeric_limits<i64>::max()}) {
        ids.start.as<std::int64_t>()[2] = wild;
        call(&backend::embedding, ids, table, first, vocabulary, out);
        equal(out);
        call(&backend::embedding_gradient, ids, dy, first, dtable);
        equal(dtable);
      }
    }
}

TEST_CASE("attention") {
  struct shape {
    i64 batch, queries, keys, heads, key_heads, width, value_width = 0;
  };
  std::vector<shape> shapes = {{0, 4, 4, 2, 2, 8},     {1, 1, 1, 1, 1, 2},      {2, 5, 5, 4, 2, 16},      {1, 3, 70, 4, 1, 16},
                               {2, 64, 64, 2, 2, 32},  {2, 130, 130, 4, 2, 64}, {1, 200, 200, 2, 1, 128}, {1, 1, 257, 8, 2, 128},
                               {1, 70, 70, 2, 2, 200}, {1, 65, 65, 1, 1, 7},    {1, 40, 333, 6, 3, 48},
                               {2, 70, 70, 2, 2, 24, 16}, {1, 65, 130, 4, 2, 192, 128}, {1, 33, 33, 2, 1, 16, 40},
                               {2, 300, 300, 4, 2, 128}, {1, 129, 500, 3, 1, 64}, {1, 700, 700, 4, 1, 128}, {2, 257, 257, 8, 2, 64},
                               {1, 33, 1000, 2, 1, 128}, {2, 300, 300, 4, 4, 192, 128}, {1, 200, 700, 4, 2, 192, 128},
                               {3, 1, 500, 8, 1, 128},  {1, 1, 3000, 32, 4, 128}, {2, 2, 130, 16, 2, 64}, {2, 1, 400, 4, 4, 192, 128},
                               {1, 3, 900, 40, 2, 128}, {1, 9, 333, 6, 1, 72},   {1, 2, 64, 33, 1, 128},
                               {1, 70, 90, 3, 1, 96, 64}, {1, 130, 130, 2, 1, 160, 40}, {2, 100, 100, 4, 4, 64, 32}};
  for (int i = 0; i < 6; ++i) {
    const i64 keys = any(1, 400), group = any(1, 4), key_heads = any(1, 3);
    shapes.push_back({any(1, 3), any(1, keys), keys, group * key_heads, key_heads, 8 * any(1, 16)});
  }
  for (const dtype type : types)
    for (const shape& s : shapes)
      for (int kind = 0; kind < 3; ++kind) {
        twin q = noise(type, {s.batch, s.queries, s.heads, s.width}, -2, 2), k = noise(type, {s.batch, s.keys, s.key_heads, s.width}, -2, 2),
             v = noise(type, {s.batch, s.keys, s.key_heads, s.value_width > 0 ? s.value_width : s.width});
        twin out = noise(type, {s.batch, s.queries, s.heads, v.start.extent[3]}), lse = noise(dtype::f32, {s.batch, s.heads, s.queries});
        tensor starts(dtype::i32, {s.batch, s.keys});
        for (i64 b = 0; b < s.batch; ++b)
          for (i64 j = 0, from = 0; j < s.keys; ++j) {
            if (kind == 1 && any(0, 20) == 0) from = j;
            if (kind == 2 && j < s.keys / 3) from = j;      // padding: segments of one
            if (kind == 2 && j == s.keys / 3) from = j;
            starts.set(b * s.keys + j, static_cast<double>(kind == 2 && j == s.keys - 1 ? s.keys + 3 : from));  // and one that sees nothing
          }
        twin segments(starts);
        const double scale = 1 / std::sqrt(static_cast<double>(s.width));
        const double allowed = type == dtype::bf16 ? 8e-3 : 5e-6;
        call(&backend::attention, q, k, v, segments, s.keys, scale, out, lse);
        close(out, allowed);
        close(lse, 2e-6);
        if (kind == 0) {
          call(&backend::attention, q, k, v, none, s.keys, scale, out, none);
          close(out, allowed);
        }
        if (const i64 there = s.keys - s.keys / 3; there >= s.queries) {  // of a cache with room: what is not there yet may hold anything
          for (twin* x : {&k, &v})
            for (i64 b = 0, row = x->start.extent[2] * x->start.extent[3]; b < s.batch; ++b)
              for (i64 e = there * row; e < s.keys * row; ++e) x->start.set(b * s.keys * row + e, NAN);
          call(&backend::attention, q, k, v, segments, there, scale, out, lse);
          close(out, allowed);
          close(lse, 2e-6);
          for (twin* x : {&k, &v}) *x = noise(type, x->start.extent, -1, 1);
        }
        out.start = out.want;
        call(&backend::attention, q, k, v, segments, s.keys, scale, out, lse);
        out.start = out.want, lse.start = lse.want;
        twin dout = noise(type, out.start.extent), dq = noise(type, q.start.extent), dk = noise(type, k.start.extent),
             dv = noise(type, v.start.extent);
        call(&backend::attention_gradient, q, k, v, segments, scale, out, lse, dout, dq, dk, dv);
        const double slack = type == dtype::bf16 ? 1.5e-2 : 2e-5;
        INFO("queries ", s.queries, " keys ", s.keys, " heads ", s.heads, "/", s.key_heads, " segments ", kind);
        close(dq, slack);
        close(dk, slack);
        close(dv, slack);
      }
}

TEST_CASE("attention sinks") {
  for (const dtype type : types)
    for (const auto& e : {std::vector<i64>{0, 4, 2, 8}, {1, 1, 1, 2}, {2, 33, 4, 64}, {3, 100, 8, 20}}) {
      twin sinks = noise(type, {e[2]}, -3, 3), out = noise(type, e), lse = noise(dtype::f32, {e[0], e[2], e[1]}, -4, 4);
      if (lse.start.size() > 5) lse.start.set(3, -INFINITY);  // a query that sees nothing
      call(&backend::attention_sinks, sinks, out, lse);
      close(out, near(type));
      close(lse, 1e-6);
      out.start = out.want, lse.start = lse.want;
      twin dout = noise(type, e), dsinks = noise(dtype::f32, {e[2]});
      call(&backend::attention_sinks_gradient, sinks, out, lse, dout, dsinks);
      close(dsinks, 5e-6);
    }
}

TEST_CASE("router") {
  for (const dtype type : types)
    for (const auto& [tokens, experts, k] :
         {std::tuple<i64, i64, i64>{0, 8, 2}, {1, 1, 1}, {33, 8, 2}, {1000, 128, 8}, {257, 60, 4}, {5, 3, 5}, {100, 512, 10}})
      for (const bool normalise : {false, true}) {
        twin logits = noise(type, {tokens, experts}, -3, 3), p = noise(dtype::f32, {tokens, experts}), scores = noise(type, {tokens, k});
        if (tokens > 4) {
          logits.start.set(2 * experts, logits.start[2 * experts + experts - 1]);  // a tie
          logits.start.set(4 * experts, std::nan(""));
        }
        twin ids = random_integers(dtype::i32, {tokens, k}, -9, 9);
        call(&backend::router, logits, none, router_options{.normalise = normalise}, p, ids, scores);
        equal(ids);
        close(p, 1e-6);
        close(scores, near(type));
        p.start = p.want, ids.start = ids.want;
        twin dscores = noise(type, {tokens, k}), dlogits = noise(type, {tokens, experts});
        call(&backend::router_gradient, logits, p, ids, dscores, router_options{.normalise = normalise}, dlogits);
        close(dlogits, near(type));
        twin valid = random_integers(dtype::u8, {tokens}, 0, 1), counts = noise(dtype::f32, {experts}), sums = noise(dtype::f32, {experts});
        call(&backend::router_statistics, p, ids, valid, counts, sums);
        equal(counts);
        close(sums, 1e-6);
        call(&backend::router_statistics, p, ids, none, counts, sums);
        equal(counts);
        call(&backend::router_statistics_gradient, p, valid, sums, dlogits);
        close(dlogits, near(type));
      }
  twin statistics = noise(dtype::f32, {2, 300}), loss = zero(dtype::f32, {1}), dstatistics = noise(dtype::f32, {2, 300});
  call(&backend::balance, statistics, 0.3, loss);
  close(loss, 1e-6);
  call(&backend::balance_gradient, statistics, 0.3, loss, dstatistics);
  close(dstatistics, 1e-6);
}

TEST_CASE("router: other scores, a bias, groups") {
  const router_options every[] = {
      {.normalise = true, .smallest_sum = 1e-12},
      {.normalise = true, .smallest_sum = 2, .factor = 3},
      {.factor = 16, .groups = 4, .kept_groups = 2},
      {.scoring = router_scoring::sigmoid},
      {.scoring = router_scoring::sigmoid, .normalise = true, .epsilon = 1e-20, .factor = 2.5, .groups = 4, .kept_groups = 2, .worth = group_worth::two_best},
      {.scoring = router_scoring::sparsemixer, .nearness = 0.02},
      {.scoring = router_scoring::sparsemixer, .normalise = true, .factor = 2, .nearness = 0.9},
  };
  for (const dtype type : types)
    for (const auto& [tokens, experts, most] : {std::tuple<i64, i64, i64>{0, 8, 2}, {33, 8, 4}, {700, 256, 8}, {257, 60, 4}})
      for (const router_options& o : every)
        for (const bool biased : {false, true}) {
          if (biased && o.scoring == router_scoring::sparsemixer) continue;
          const i64 k = o.scoring == router_scoring::sparsemixer ? 2 : most;
          twin logits = noise(type, {tokens, experts}, -3, 3), bias = noise(dtype::f32, {experts}), p = noise(dtype::f32, {tokens, experts}),
               scores = noise(type, {tokens, k});
          // Multiples of 1/4: what is not equal differs by more than the two sides' rounding.
          for (i64 i = 0; i < logits.start.size(); ++i) logits.start.set(i, std::round(4 * logits.start[i]) / 4);
          for (i64 e = 0; e < experts; ++e) bias.start.set(e, std::round(4 * bias.start[e]) / 4);
          if (tokens > 4) logits.start.set(4 * experts, std::nan(""));
          twin ids = random_integers(dtype::i32, {tokens, k}, -9, 9);
          if (biased) call(&backend::router, logits, bias, o, p, ids, scores);
          else call(&backend::router, logits, none, o, p, ids, scores);
          INFO("scoring ", static_cast<int>(o.scoring), " groups ", o.groups, " bias ", biased);
          equal(ids);
          close(p, 1e-6);
          close(scores, near(type));
          p.start = p.want, ids.start = ids.want;
          twin dscores = noise(type, {tokens, k}), dlogits = noise(type, {tokens, experts});
          call(&backend::router_gradient, logits, p, ids, dscores, o, dlogits);
          close(dlogits, near(type));
        }
}

TEST_CASE("rows from several ranks, sorted by expert") {
  for (const i64 ranks : {1, 2, 8, 300})
    for (const i64 local : {0, 1, 4, 17}) {
      twin received = zero(dtype::i32, {ranks, local + 1});
      i64 rows = 0;
      for (i64 m = 0; m < ranks; ++m) {
        i64 at = any(0, 50);
        for (i64 e = 0; e <= local; ++e) {
          received.start.set(m * (local + 1) + e, static_cast<double>(at));
          const i64 count = e == local || any(0, 3) == 0 ? 0 : any(0, ranks > 8 ? 20 : 700);
          at += count;
          rows += count;
        }
      }
      twin offsets = random_integers(dtype::i32, {local + 1}, -9, 9), row_of_slot = random_integers(dtype::i32, {rows}, -9, 9),
           slot_of_row = random_integers(dtype::i32, {rows}, -9, 9);
      call(&backend::exchange_plan, received, offsets, row_of_slot, slot_of_row);
      equal(offsets);
      equal(row_of_slot);
      equal(slot_of_row);
    }
}

TEST_CASE("dispatch, products by expert, combine") {
  struct shape {
    i64 tokens, k, experts, first, local, in, out;
  };
  std::vector<shape> shapes = {{0, 2, 4, 0, 4, 16, 24},          {1, 1, 1, 0, 1, 8, 8},        {50, 2, 8, 2, 4, 32, 40},
                               {50, 2, 8, 2, 0, 32, 40},         {700, 4, 60, 0, 60, 64, 128}, {33, 2, 6, 0, 6, 13, 7},
                               {2000, 8, 512, 128, 128, 64, 48}, {3000, 2, 8, 0, 8, 256, 192}, {300, 3, 5, 1, 3, 20, 12}};
  for (const dtype type : types)
    for (const shape& s : shapes) {
      const i64 pairs = s.tokens * s.k;
      twin ids = random_integers(dtype::i32, {s.tokens, s.k}, 0, s.experts - 1);
      if (pairs > 60)
        for (i64 i = 0; i < pairs; ++i)  // uneven, and one expert without rows
          if (ids.start[i] == static_cast<double>(s.first + 1) || any(0, 1) == 0) ids.start.set(i, static_cast<double>(s.first));
      twin offsets = random_integers(dtype::i32, {s.local + 1}, -9, 9), pair_of_slot = random_integers(dtype::i32, {pairs}, -9, 9),
           slot_of_pair = random_integers(dtype::i32, {pairs}, -9, 9);
      call(&backend::dispatch_plan, ids, s.first, s.local, offsets, pair_of_slot, slot_of_pair);
      equal(offsets);
      equal(pair_of_slot);
      equal(slot_of_pair);
      for (twin* t : {&offsets, &pair_of_slot, &slot_of_pair}) t->start = t->want;
      twin x = noise(type, {s.tokens, s.in}), rows = noise(type, {pairs, s.in});
      call(&backend::gather_rows, x, s.k, pair_of_slot, offsets, rows);
      equal(rows);
      rows.start = rows.want;
      const i64 last = static_cast<i64>(offsets.start[s.local]);
      double most = 0;  // rows of an expert: the error of a weight gradient grows with them where the contraction is not cut (off Hopper)
      for (i64 e = 0; e < s.local; ++e) most = std::max(most, offsets.start[e + 1] - offsets.start[e]);
      for (i64 i = last * s.in; i < pairs * s.in; ++i) rows.start.set(i, std::nan(""));  // nobody's: never read into a result
      twin y = noise(type, {pairs, s.out}), dy = noise(type, {pairs, s.out}), dx = noise(type, {pairs, s.in});
      for (i64 i = last * s.out; i < pairs * s.out; ++i) dy.start.set(i, std::nan(""));
      for (const bool transposed : {false, true}) {
        const std::vector<i64> extent = transposed ? std::vector<i64>{s.local, s.in, s.out} : std::vector<i64>{s.local, s.out, s.in};
        twin w = noise(type, extent), dw = noise(dtype::f32, extent);
        call(&backend::grouped_matmul, rows, w, transposed, offsets, y);
        close(y, near(type));
        call(&backend::grouped_input_gradient, dy, w, transposed, offsets, dx);
        close(dx, near(type));
        for (const bool accumulate : {true, false}) {
          call(&backend::grouped_weight_gradient, rows, dy, transposed, offsets, dw, accumulate);
          close(dw, 4e-6 + 6e-10 * most);
        }
      }
      twin bias = noise(type, {s.local, s.out}), biased = noise(type, {pairs, s.out}), dbias = noise(dtype::f32, {s.local, s.out});
      call(&backend::expert_bias, dy, bias, offsets, biased);
      equal(biased);
      call(&backend::expert_bias_gradient, dy, offsets, dbias);
      close(dbias, 1e-6);
      twin drows = noise(type, {pairs, s.in}), scores = noise(type, {s.tokens, s.k}), dscores = noise(type, {s.tokens, s.k}),
           sum = noise(type, {s.tokens, s.in});
      for (i64 i = last * s.in; i < pairs * s.in; ++i) drows.start.set(i, std::nan(""));
      call(&backend::gather_rows_gradient, drows, s.k, slot_of_pair, sum);
      close(sum, near(type));
      call(&backend::combine, rows, scores, slot_of_pair, sum);
      close(sum, near(type));
      twin dsum = noise(type, {s.tokens, s.in});
      call(&backend::combine_gradient, dsum, rows, scores, slot_of_pair, drows, dscores);
      close(drows, near(type));
      close(dscores, near(type));
      call(&backend::combine_gradient, dsum, drows, scores, slot_of_pair, drows, none);  // gathering weighted rows
      close(drows, near(type));
      call(&backend::combine_gradient, dsum, rows, scores, slot_of_pair, none, dscores);
      close(dscores, near(type));
    }
}

TEST_CASE("cross entropy") {
  for (const dtype type : types)
    for (const auto& [rows, n] : {std::pair<i64, i64>{0, 8}, {1, 1}, {5, 13}, {700, 64}, {40, 5000}, {9, 32003}, {3, 0}}) {
      const i64 first = any(0, 9), vocabulary = first + n + any(1, 5);
      twin logits = noise(type, {rows, n}, -5, 5), maximum = noise(dtype::f32, {rows}), parts = noise(dtype::f32, {2, rows}),
           labels = random_integers(dtype::i64, {rows}, 0, vocabulary - 1);
      if (rows > 2) labels.start.set(1, -100);
      twin places = random_integers(dtype::i64, {rows}, 0, 9);
      call(&backend::argmax, logits, places);
      equal(places);
      twin odd(logits.start);
      if (rows > 4 && n > 1) {  // equal ones, NaN, infinities
        for (const i64 at : {n - 1, n / 2, n / 3}) odd.start.set(at, 7);
        odd.start.set(n + n / 2, NAN);
        for (i64 c = 0; c < n; ++c) odd.start.set(2 * n + c, -INFINITY);
        odd.start.set(3 * n + 1, INFINITY);
        for (i64 c = 0; c < n; ++c) odd.start.set(4 * n + c, c % 2 == 0 ? -0.0 : 0.0);
      }
      call(&backend::argmax, odd, places);
      equal(places);
      call(&backend::row_maximum, logits, maximum);
      equal(maximum);
      maximum.start = maximum.want;
      if (n == 0) maximum.start.fill(0.5);
      call(&backend::cross_entropy_parts, logits, maximum, labels, first, vocabulary, parts);
      close(parts, 2e-6);
      parts.start = parts.want;
      if (n == 0) parts.start.fill(0.5);
      twin loss = zero(dtype::f32, {1}), dloss = noise(dtype::f32, {1}), dparts = noise(dtype::f32, {2, rows});
      call(&backend::cross_entropy_sum, parts, labels, 0.1, loss);
      close(loss, 1e-6);
      call(&backend::cross_entropy_sum_gradient, parts, labels, 0.1, dloss, dparts);
      close(dparts, 1e-6);
      dparts.start = dparts.want;
      twin dlogits = noise(type, {rows, n});
      call(&backend::cross_entropy_parts_gradient, logits, maximum, labels, first, dparts, dlogits);
      close(dlogits, near(type));
      call(&backend::cross_entropy_parts_gradient, logits, maximum, labels, first, dparts, logits);
      close(logits, near(type));
      if (rows < 5) continue;
      labels.start.set(3, static_cast<double>(vocabulary));
      labels.start.set(4, -7);
      call(&backend::cross_entropy_parts, logits, maximum, labels, first, vocabulary, parts);
    }
}

TEST_CASE("optimizer") {
  for (const dtype type : types)
    for (const i64 n : {0, 1, 1003, 4096}) {
      adamw_options o;
      o.step = 3;
      o.gradient_scale = 0.7;
      for (const dtype states : types) {
        twin p = noise(states, {n}), g = noise(type, {n}), m = noise(states, {n}), v = noise(states, {n}, 0, 1), copy = zero(dtype::bf16, {n});
        call(&backend::adamw, p, g, m, v, copy, o);
        for (const twin* t : {&p, &m, &v}) close(*t, states == dtype::f32 ? 1e-6 : near(states));
        close(copy, near(dtype::bf16));
        if (states == dtype::bf16) continue;
        call(&backend::adamw, p, g, m, v, none, o);
        close(p, 1e-6);
      }
    }
}

TEST_CASE("marks order queues") {
  device other;
  const i64 n = 1 << 22;
  const buffer shared(gpu().ops, gpu().ex.queue, static_cast<std::size_t>(n) * 4),
      copy(other.ops, other.ex.queue, static_cast<std::size_t>(n) * 4);
  view v{shared.data(), dtype::f32, 1, {n}}, to = v;
  to.data = copy.data();
  bool right = true;
  for (int i = 1; i <= 50; ++i) {
    gpu().ops.fill(gpu().ex, v, i);
    const queue_mark filled(gpu().ops, gpu().ex);
    filled.wait(other.ex);
    other.ops.copy(other.ex, to.data, v.data, v.bytes());
    const queue_mark copied(other.ops, other.ex);
    copied.wait(gpu().ex);
    float last = 0;
    other.ops.copy(other.ex, &last, static_cast<float*>(to.data) + n - 1, 4);
    right = right && last == static_cast<float>(i);
  }
  CHECK(right);
}

int main(int argc, char** argv) {
  if (const char* missing = cuda_missing()) {
    std::printf("skipped: %s\n", missing);
    return 77;
  }
  setenv("PLAIT_POISON", "1", 1);
  opened = std::make_unique<device>();
  doctest::Context context(argc, argv);
  const int result = context.run();
  opened.reset();
  return result;
}
