#pragma once
// Compiler facts, and nothing else. PLAIT_HD marks shared arithmetic that a kernel may call.
#if defined(__CUDACC__)
#define PLAIT_HD __host__ __device__
#else
#define PLAIT_HD
#endif
