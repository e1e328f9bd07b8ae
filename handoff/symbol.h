// The name of the function at an address of a program, for the sentence about a crash.
#ifndef LIVEEXEC_HANDOFF_SYMBOL_H_
#define LIVEEXEC_HANDOFF_SYMBOL_H_

#include <cstdint>
#include <string>

namespace liveexec {

// Looks `address` (as addr2line takes it) up in the symbol table of the ELF file behind `fd`, which
// is readable and borrowed. Demangled, at most 200 characters. Empty when the file has no symbol
// table, none of its functions is there, or it is not what it should be. Reads only as much as the
// table has, in bounded pieces; a few milliseconds.
std::string FunctionAt(int fd, uint64_t address);

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_SYMBOL_H_
