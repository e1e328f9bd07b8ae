#include "handoff/symbol.h"

#include <cxxabi.h>
#include <elf.h>
#include <link.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

namespace liveexec {
namespace {

constexpr size_t kLongestMangled = 4096;
constexpr size_t kLongestName = 200;
constexpr size_t kSymbolsAtOnce = 4096;
constexpr uint64_t kMostSymbols = 16 << 20;

bool ReadAt(int fd, uint64_t offset, void* buffer, size_t size) {
  return offset < (uint64_t{1} << 62) &&
         pread(fd, buffer, size, static_cast<off_t>(offset)) == static_cast<ssize_t>(size);
}

std::optional<ElfW(Shdr)> ReadSection(int fd, const ElfW(Ehdr) & header, size_t index) {
  ElfW(Shdr) section;
  if (index >= header.e_shnum) return std::nullopt;
  if (!ReadAt(fd, header.e_shoff + index * sizeof(section), &section, sizeof(section))) {
    return std::nullopt;
  }
  return section;
}

std::optional<ElfW(Shdr)> FindSymbolTable(int fd, const ElfW(Ehdr) & header) {
  for (size_t i = 0; i < header.e_shnum; ++i) {
    const auto section = ReadSection(fd, header, i);
    if (section && section->sh_type == SHT_SYMTAB && section->sh_entsize == sizeof(ElfW(Sym))) {
      return section;
    }
  }
  return std::nullopt;
}

// The function whose code has the address.
std::optional<ElfW(Sym)> FindFunction(int fd, const ElfW(Shdr) & table, uint64_t address) {
  const uint64_t count = table.sh_size / sizeof(ElfW(Sym));
  if (count > kMostSymbols) return std::nullopt;
  std::vector<ElfW(Sym)> symbols;
  for (uint64_t first = 0; first < count; first += kSymbolsAtOnce) {
    symbols.resize(std::min<uint64_t>(count - first, kSymbolsAtOnce));
    if (!ReadAt(fd, table.sh_offset + first * sizeof(ElfW(Sym)), symbols.data(),
                symbols.size() * sizeof(ElfW(Sym)))) {
      return std::nullopt;
    }
    for (const ElfW(Sym) & symbol : symbols) {
      if ((symbol.st_info & 0xf) == STT_FUNC && symbol.st_shndx != SHN_UNDEF &&
          address >= symbol.st_value && address - symbol.st_value < symbol.st_size) {
        return symbol;
      }
    }
  }
  return std::nullopt;
}

std::string Demangle(const char* name) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> text(
      abi::__cxa_demangle(name, nullptr, nullptr, &status), free);
  std::string result = status == 0 && text != nullptr ? text.get() : name;
  if (result.size() > kLongestName) result.resize(kLongestName);
  return result;
}

}  // namespace

std::string FunctionAt(int fd, uint64_t address) {
  ElfW(Ehdr) header;
  if (!ReadAt(fd, 0, &header, sizeof(header)) || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
      header.e_shentsize != sizeof(ElfW(Shdr))) {
    return "";
  }
  const auto table = FindSymbolTable(fd, header);
  if (!table) return "";
  const auto function = FindFunction(fd, *table, address);
  const auto names = ReadSection(fd, header, table->sh_link);
  if (!function || !names || function->st_name >= names->sh_size) return "";
  char name[kLongestMangled + 1] = {};
  const size_t size = std::min<uint64_t>(names->sh_size - function->st_name, kLongestMangled);
  return ReadAt(fd, names->sh_offset + function->st_name, name, size) ? Demangle(name) : "";
}

}  // namespace liveexec
