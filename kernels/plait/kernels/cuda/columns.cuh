#pragma once
// Sums down the columns of a matrix, in double, in a fixed order: chunks of rows, then over the chunks.
#include "plait/kernels/cuda/device.cuh"

namespace plait::inline v0_1::cuda {

/// Block (32, 8): 32 columns of one chunk of rows. `valid` leaves rows out.
template <class T>
__global__ void __launch_bounds__(256)
    column_chunks_kernel(const T* x, index rows, index columns, const std::uint8_t* valid, index chunk, double* parts) {
  const index c = static_cast<index>(blockIdx.x) * 32 + threadIdx.x;
  const index begin = static_cast<index>(blockIdx.y) * chunk, end = begin + chunk < rows ? begin + chunk : rows;
  double sum = 0;
  if (c < columns)
    for (index r = begin + threadIdx.y; r < end; r += 8)
      if (valid == nullptr || valid[r] != 0) sum += convert<double>(x[r * columns + c]);
  __shared__ double sums[8][33];
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || c >= columns) return;
  for (int i = 1; i < 8; ++i) sum += sums[i][threadIdx.x];
  parts[static_cast<index>(blockIdx.y) * columns + c] = sum;
}

template <class P, class To>
__global__ void __launch_bounds__(256) column_finish_kernel(const P* parts, index chunks, index columns, To* to, bool add) {
  const index c = static_cast<index>(blockIdx.x) * 32 + threadIdx.x;
  double sum = 0;
  if (c < columns)
    for (index i = threadIdx.y; i < chunks; i += 8) sum += static_cast<double>(parts[i * columns + c]);
  __shared__ double sums[8][33];
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || c >= columns) return;
  for (int i = 1; i < 8; ++i) sum += sums[i][threadIdx.x];
  to[c] = convert<To>(add ? convert<double>(to[c]) + sum : sum);
}

/// to[c] (+)= sum over `chunks` rows of parts.
template <class P>
void finish_columns(queue& q, const P* parts, index chunks, index columns, view to, bool add) {
  if (columns == 0) return;
  visit_float("column sums", to.type, [&](auto tag) {
    using To = typename decltype(tag)::type;
    column_finish_kernel<P, To><<<blocks_for(columns, 32), dim3(32, 8), 0, q.stream>>>(parts, chunks, columns, to.as<To>(), add);
    launched("column sums");
  });
}

/// to[c] (+)= sum over (valid) rows of x[r, c].
template <class T>
void add_columns(queue& q, const T* x, index rows, index columns, const std::uint8_t* valid, view to, bool add) {
  if (columns == 0) return;
  index chunks = rows / 256;
  chunks = chunks < 1 ? 1 : chunks > 128 ? 128 : chunks;
  const index chunk = (rows + chunks - 1) / chunks;
  const scratch parts(q, sizeof(double) * static_cast<std::size_t>(chunks * columns));
  column_chunks_kernel<T><<<dim3(blocks_for(columns, 32), static_cast<unsigned>(chunks)), dim3(32, 8), 0, q.stream>>>(
      x, rows, columns, valid, chunk, parts.template as<double>());
  launched("column sums");
  finish_columns(q, parts.template as<double>(), chunks, columns, to, add);
}

}  // namespace plait::inline v0_1::cuda
