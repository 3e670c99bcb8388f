#pragma once
// A check as plait writes them, without plait: these files test the harness, not the library.
template <bool Ok, class Context>
struct a_word_must_be_one_byte {
  static_assert(Ok, "plait[self-test]: this word is longer than one byte; use char");
  static constexpr bool ok = Ok;
};

template <class Word>
constexpr int length_of(Word) {
  if constexpr (a_word_must_be_one_byte<sizeof(Word) == 1, Word>::ok) return 1;
  return 0;
}
