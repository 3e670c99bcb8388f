#pragma once
// wgmma: D[64, N] (f32, registers) += A[64, 16] * B[16, N] (bf16, shared memory), issued by one warpgroup.
// Thread t = 32 w + l holds rows 16 w + l / 4 and + 8, columns 8 j + 2 (l % 4) and + 1, in d[4 j .. 4 j + 3].
#include <cstdint>

namespace plait::inline v0_1::kernels {

// Which dimension of an operand is contiguous: the contraction (k_major) or the tile's own rows or columns (mn_major).
enum class major : int { k = 0, mn = 1 };

namespace wgmma {

// Shared-memory matrix descriptor, 128-byte swizzle. Bits 0-13 address / 16, 16-29 leading offset / 16, 32-45 stride offset / 16,
// 62-63 swizzle (1 = 128 bytes).
//  k major:  8 rows of 128 bytes make an atom; the stride offset leads to the next 8 rows. 16 contraction steps = 32 bytes.
//  mn major: 8 contraction steps of 64 elements make an atom; the stride offset leads to the next 8 steps, the leading offset to
//            the next 64 elements. 16 contraction steps = 2048 bytes.
template <major Major>
struct operand {
  static constexpr std::uint32_t step = Major == major::k ? 2 : 128;  // 16 contraction steps, in units of 16 bytes
  static constexpr std::uint64_t fixed = (std::uint64_t{1} << 62) | (std::uint64_t{1024 / 16} << 32) |
                                         (std::uint64_t{Major == major::k ? 1 : 8192 / 16} << 16);
  // In a cluster the upper bits of a shared address hold the CTA's rank; they must not reach the offsets.
  __device__ static __forceinline__ std::uint64_t descriptor(std::uint32_t address) {
    return fixed | static_cast<std::uint64_t>((address & 0x3ffffu) >> 4);
  }
};

__device__ __forceinline__ void fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

template <int Pending>
__device__ __forceinline__ void wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Pending) : "memory");
}

// One instruction of N columns; `accumulate` = 0 overwrites D.
template <int N, major A, major B>
struct multiply;

// The registers of 8 columns each, in the instruction's text and as its operands; every list extends the one before.
#define PLAIT_TEXT_1 "%0, %1, %2, %3"
#define PLAIT_SUMS_1 "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
#define PLAIT_TEXT_2 PLAIT_TEXT_1 ", %4, %5, %6, %7"
#define PLAIT_SUMS_2 PLAIT_SUMS_1, "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7])
#define PLAIT_TEXT_3 PLAIT_TEXT_2 ", %8, %9, %10, %11"
#define PLAIT_SUMS_3 PLAIT_SUMS_2, "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11])
#define PLAIT_TEXT_4 PLAIT_TEXT_3 ", %12, %13, %14, %15"
#define PLAIT_SUMS_4 PLAIT_SUMS_3, "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15])
#define PLAIT_TEXT_5 PLAIT_TEXT_4 ", %16, %17, %18, %19"
#define PLAIT_SUMS_5 PLAIT_SUMS_4, "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19])
#define PLAIT_TEXT_6 PLAIT_TEXT_5 ", %20, %21, %22, %23"
#define PLAIT_SUMS_6 PLAIT_SUMS_5, "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23])
#define PLAIT_TEXT_7 PLAIT_TEXT_6 ", %24, %25, %26, %27"
#define PLAIT_SUMS_7 PLAIT_SUMS_6, "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27])
#define PLAIT_TEXT_8 PLAIT_TEXT_7 ", %28, %29, %30, %31"
#define PLAIT_SUMS_8 PLAIT_SUMS_7, "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31])
#define PLAIT_TEXT_9 PLAIT_TEXT_8 ", %32, %33, %34, %35"
#define PLAIT_SUMS_9 PLAIT_SUMS_8, "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35])
#define PLAIT_TEXT_10 PLAIT_TEXT_9 ", %36, %37, %38, %39"
#define PLAIT_SUMS_10 PLAIT_SUMS_9, "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39])
#define PLAIT_TEXT_11 PLAIT_TEXT_10 ", %40, %41, %42, %43"
#define PLAIT_SUMS_11 PLAIT_SUMS_10, "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43])
#define PLAIT_TEXT_12 PLAIT_TEXT_11 ", %44, %45, %46, %47"
#define PLAIT_SUMS_12 PLAIT_SUMS_11, "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47])
#define PLAIT_TEXT_13 PLAIT_TEXT_12 ", %48, %49, %50, %51"
#define PLAIT_SUMS_13 PLAIT_SUMS_12, "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51])
#define PLAIT_TEXT_14 PLAIT_TEXT_13 ", %52, %53, %54, %55"
#define PLAIT_SUMS_14 PLAIT_SUMS_13, "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55])
#define PLAIT_TEXT_15 PLAIT_TEXT_14 ", %56, %57, %58, %59"
#define PLAIT_SUMS_15 PLAIT_SUMS_14, "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59])
#define PLAIT_TEXT_16 PLAIT_TEXT_15 ", %60, %61, %62, %63"
#define PLAIT_SUMS_16 PLAIT_SUMS_15, "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
#define PLAIT_TEXT_17 PLAIT_TEXT_16 ", %64, %65, %66, %67"
#define PLAIT_SUMS_17 PLAIT_SUMS_16, "+f"(d[64]), "+f"(d[65]), "+f"(d[66]), "+f"(d[67])
#define PLAIT_TEXT_18 PLAIT_TEXT_17 ", %68, %69, %70, %71"
#define PLAIT_SUMS_18 PLAIT_SUMS_17, "+f"(d[68]), "+f"(d[69]), "+f"(d[70]), "+f"(d[71])
#define PLAIT_TEXT_19 PLAIT_TEXT_18 ", %72, %73, %74, %75"
#define PLAIT_SUMS_19 PLAIT_SUMS_18, "+f"(d[72]), "+f"(d[73]), "+f"(d[74]), "+f"(d[75])
#define PLAIT_TEXT_20 PLAIT_TEXT_19 ", %76, %77, %78, %79"
#define PLAIT_SUMS_20 PLAIT_SUMS_19, "+f"(d[76]), "+f"(d[77]), "+f"(d[78]), "+f"(d[79])
#define PLAIT_TEXT_21 PLAIT_TEXT_20 ", %80, %81, %82, %83"
#define PLAIT_SUMS_21 PLAIT_SUMS_20, "+f"(d[80]), "+f"(d[81]), "+f"(d[82]), "+f"(d[83])
#define PLAIT_TEXT_22 PLAIT_TEXT_21 ", %84, %85, %86, %87"
#define PLAIT_SUMS_22 PLAIT_SUMS_21, "+f"(d[84]), "+f"(d[85]), "+f"(d[86]), "+f"(d[87])
#define PLAIT_TEXT_23 PLAIT_TEXT_22 ", %88, %89, %90, %91"
#define PLAIT_SUMS_23 PLAIT_SUMS_22, "+f"(d[88]), "+f"(d[89]), "+f"(d[90]), "+f"(d[91])
#define PLAIT_TEXT_24 PLAIT_TEXT_23 ", %92, %93, %94, %95"
#define PLAIT_SUMS_24 PLAIT_SUMS_23, "+f"(d[92]), "+f"(d[93]), "+f"(d[94]), "+f"(d[95])
#define PLAIT_TEXT_25 PLAIT_TEXT_24 ", %96, %97, %98, %99"
#define PLAIT_SUMS_25 PLAIT_SUMS_24, "+f"(d[96]), "+f"(d[97]), "+f"(d[98]), "+f"(d[99])
#define PLAIT_TEXT_26 PLAIT_TEXT_25 ", %100, %101, %102, %103"
#define PLAIT_SUMS_26 PLAIT_SUMS_25, "+f"(d[100]), "+f"(d[101]), "+f"(d[102]), "+f"(d[103])
#define PLAIT_TEXT_27 PLAIT_TEXT_26 ", %104, %105, %106, %107"
#define PLAIT_SUMS_27 PLAIT_SUMS_26, "+f"(d[104]), "+f"(d[105]), "+f"(d[106]), "+f"(d[107])
#define PLAIT_TEXT_28 PLAIT_TEXT_27 ", %108, %109, %110, %111"
#define PLAIT_SUMS_28 PLAIT_SUMS_27, "+f"(d[108]), "+f"(d[109]), "+f"(d[110]), "+f"(d[111])
#define PLAIT_TEXT_29 PLAIT_TEXT_28 ", %112, %113, %114, %115"
#define PLAIT_SUMS_29 PLAIT_SUMS_28, "+f"(d[112]), "+f"(d[113]), "+f"(d[114]), "+f"(d[115])
#define PLAIT_TEXT_30 PLAIT_TEXT_29 ", %116, %117, %118, %119"
#define PLAIT_SUMS_30 PLAIT_SUMS_29, "+f"(d[116]), "+f"(d[117]), "+f"(d[118]), "+f"(d[119])
#define PLAIT_TEXT_31 PLAIT_TEXT_30 ", %120, %121, %122, %123"
#define PLAIT_SUMS_31 PLAIT_SUMS_30, "+f"(d[120]), "+f"(d[121]), "+f"(d[122]), "+f"(d[123])
#define PLAIT_TEXT_32 PLAIT_TEXT_31 ", %124, %125, %126, %127"
#define PLAIT_SUMS_32 PLAIT_SUMS_31, "+f"(d[124]), "+f"(d[125]), "+f"(d[126]), "+f"(d[127])

// P, Q, R, S, T number the operands after the sums: descriptors, accumulate, majors.
#define PLAIT_MULTIPLY(Columns, Eighth, P, Q, R, S, T)                                                                       \
  template <major A, major B>                                                                                                \
  struct multiply<Columns, A, B> {                                                                                           \
    __device__ static __forceinline__ void run(float (&d)[Columns / 2], std::uint64_t a, std::uint64_t b, int accumulate) {   \
      asm volatile("{\n .reg .pred p;\n setp.ne.b32 p, %" #R ", 0;\n wgmma.mma_async.sync.aligned.m64n" #Columns               \
                   "k16.f32.bf16.bf16 {" PLAIT_TEXT_##Eighth "}, %" #P ", %" #Q ", p, 1, 1, %" #S ", %" #T ";\n}"              \
                   : PLAIT_SUMS_##Eighth                                                                                     \
                   : "l"(a), "l"(b), "r"(accumulate), "n"(static_cast<int>(A)), "n"(static_cast<int>(B)));                   \
    }                                                                                                                        \
  };
PLAIT_MULTIPLY(16, 2, 8, 9, 10, 11, 12)
PLAIT_MULTIPLY(32, 4, 16, 17, 18, 19, 20)
PLAIT_MULTIPLY(48, 6, 24, 25, 26, 27, 28)
PLAIT_MULTIPLY(64, 8, 32, 33, 34, 35, 36)
PLAIT_MULTIPLY(80, 10, 40, 41, 42, 43, 44)
PLAIT_MULTIPLY(96, 12, 48, 49, 50, 51, 52)
PLAIT_MULTIPLY(112, 14, 56, 57, 58, 59, 60)
PLAIT_MULTIPLY(128, 16, 64, 65, 66, 67, 68)
PLAIT_MULTIPLY(136, 17, 68, 69, 70, 71, 72)
PLAIT_MULTIPLY(144, 18, 72, 73, 74, 75, 76)
PLAIT_MULTIPLY(152, 19, 76, 77, 78, 79, 80)
PLAIT_MULTIPLY(160, 20, 80, 81, 82, 83, 84)
PLAIT_MULTIPLY(168, 21, 84, 85, 86, 87, 88)
PLAIT_MULTIPLY(176, 22, 88, 89, 90, 91, 92)
PLAIT_MULTIPLY(184, 23, 92, 93, 94, 95, 96)
PLAIT_MULTIPLY(192, 24, 96, 97, 98, 99, 100)
PLAIT_MULTIPLY(256, 32, 128, 129, 130, 131, 132)
#undef PLAIT_MULTIPLY

// A comes from registers: a[0], a[1] hold rows l / 4 and + 8 of columns 2 (l % 4) and + 1, a[2], a[3] the same of columns + 8. So sums of
// 16 columns, rounded in pairs, are an A of 16 contraction steps. Write them anew for every use: ptxas 13.0 gave registers of an A that a
// loop only reads to another A (found by a wrong result).
template <int N, major B>
struct multiply_registers;

// P .. S number A's registers, T .. V the descriptor, accumulate, B's major.
#define PLAIT_MULTIPLY_REGISTERS(Columns, Eighth, P, Q, R, S, T, U, V)                                                       \
  template <major B>                                                                                                         \
  struct multiply_registers<Columns, B> {                                                                                    \
    __device__ static __forceinline__ void run(float (&d)[Columns / 2], const std::uint32_t* a, std::uint64_t b, int accumulate) { \
      asm volatile("{\n .reg .pred p;\n setp.ne.b32 p, %" #U ", 0;\n wgmma.mma_async.sync.aligned.m64n" #Columns               \
                   "k16.f32.bf16.bf16 {" PLAIT_TEXT_##Eighth "}, {%" #P ", %" #Q ", %" #R ", %" #S "}, %" #T ", p, 1, 1, %" #V ";\n}" \
                   : PLAIT_SUMS_##Eighth                                                                                     \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate), "n"(static_cast<int>(B)));         \
    }                                                                                                                        \
  };
PLAIT_MULTIPLY_REGISTERS(64, 8, 32, 33, 34, 35, 36, 37, 38)
PLAIT_MULTIPLY_REGISTERS(128, 16, 64, 65, 66, 67, 68, 69, 70)
PLAIT_MULTIPLY_REGISTERS(192, 24, 96, 97, 98, 99, 100, 101, 102)
#undef PLAIT_MULTIPLY_REGISTERS

}  // namespace wgmma
}  // namespace plait::inline v0_1::kernels
