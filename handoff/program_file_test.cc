#include "handoff/program_file.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "handoff/error_code.h"
#include "handoff/file_permissions.h"

LIVEEXEC_APPLICATION("program-file-test", "2.0");
LIVEEXEC_COMPONENT("keyspace", 3, 2);

namespace liveexec {
namespace {

using ::testing::HasSubstr;

std::string ReadFile(const std::string& path) {
  std::ostringstream out;
  out << std::ifstream(path, std::ios::binary).rdbuf();
  return out.str();
}

// This test program itself, as bytes that a test may spoil.
const std::string& OwnBytes() {
  static const std::string* bytes = new std::string(ReadFile("/proc/self/exe"));
  return *bytes;
}

UniqueFd InMemory(const std::string& bytes) {
  UniqueFd fd(memfd_create("candidate", MFD_CLOEXEC));
  size_t done = 0;
  while (done < bytes.size()) {
    ssize_t count = write(fd.get(), bytes.data() + done, bytes.size() - done);
    if (count <= 0) break;
    done += static_cast<size_t>(count);
  }
  return fd;
}

std::string CodeOfReading(const std::string& bytes) {
  return CodeOf(ReadProgramFile(InMemory(bytes).get()).status());
}

ElfW(Ehdr) & HeaderOf(std::string& bytes) { return *reinterpret_cast<ElfW(Ehdr)*>(bytes.data()); }

ElfW(Phdr) * FindSegment(std::string& bytes, uint32_t type) {
  const ElfW(Ehdr)& header = HeaderOf(bytes);
  auto* segments = reinterpret_cast<ElfW(Phdr)*>(bytes.data() + header.e_phoff);
  for (int i = 0; i < header.e_phnum; ++i) {
    if (segments[i].p_type == type) return &segments[i];
  }
  return nullptr;
}

TEST(ReadProgramFile, ReadsThisVeryProgram) {
  UniqueFd fd(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  auto program = ReadProgramFile(fd.get());
  ASSERT_TRUE(program.ok()) << program.status();
  EXPECT_EQ(program->note.application, "program-file-test");
  EXPECT_EQ(program->note.version, "2.0");
  EXPECT_EQ(program->note.framework_abi, kFrameworkAbi);
  ASSERT_NE(program->note.FindComponent("keyspace"), nullptr);
  EXPECT_EQ(program->note.FindComponent("keyspace")->writes, 3u);
  EXPECT_EQ(program->elf.interpreter.rfind("/lib", 0), 0u) << program->elf.interpreter;
  EXPECT_EQ(lseek(fd.get(), 0, SEEK_CUR), 0);

  auto own = OwnProgramNote();
  ASSERT_TRUE(own.ok()) << own.status();
  EXPECT_EQ(program->note.build_id, own->build_id);
  EXPECT_EQ(program->note.components.size(), own->components.size());
}

TEST(ReadProgramFile, RefusesWhatIsNoProgram) {
  EXPECT_EQ(CodeOfReading(""), "E_ELF");
  EXPECT_EQ(CodeOfReading("\x7f"), "E_ELF");
  EXPECT_EQ(CodeOfReading("just some text, long enough for a whole ELF header, which it is not"),
            "E_ELF");
  EXPECT_EQ(CodeOfReading("#!/bin/sh\nexec server\n"), "E_SCRIPT");
  EXPECT_EQ(CodeOfReading("#!"), "E_SCRIPT");
  EXPECT_EQ(CodeOfReading("!<arch>\n" + std::string(100, ' ')), "E_ELF");
}

TEST(ReadProgramFile, FindsEveryTruncation) {
  const std::string& whole = OwnBytes();
  for (size_t size : {size_t{4}, size_t{16}, size_t{63}, size_t{64}, size_t{100}, size_t{4096},
                      whole.size() / 2, whole.size() - 1}) {
    EXPECT_EQ(CodeOfReading(whole.substr(0, size)), "E_ELF") << size;
  }
}

TEST(ReadProgramFile, FindsASegmentBeyondTheEndThoughThereAreNoSections) {
  std::string stripped = OwnBytes();
  HeaderOf(stripped).e_shoff = 0;
  HeaderOf(stripped).e_shnum = 0;
  HeaderOf(stripped).e_shstrndx = 0;
  EXPECT_EQ(CodeOfReading(stripped), "");
  std::string cut = stripped;
  FindSegment(cut, PT_LOAD)->p_filesz = cut.size() + 1;
  EXPECT_EQ(CodeOfReading(cut), "E_ELF");
  std::string wrapping = stripped;
  FindSegment(wrapping, PT_LOAD)->p_offset = ~uint64_t{0} - 10;
  EXPECT_EQ(CodeOfReading(wrapping), "E_ELF");
}

TEST(ReadProgramFile, RefusesOtherMachinesAndKindsOfFile) {
  auto spoiled = [](const std::function<void(ElfW(Ehdr)&)>& spoil) {
    std::string bytes = OwnBytes();
    spoil(HeaderOf(bytes));
    return CodeOfReading(bytes);
  };
  EXPECT_EQ(spoiled([](auto& header) { header.e_machine = EM_MIPS; }), "E_NOEXEC");
  EXPECT_EQ(spoiled([](auto& header) { header.e_ident[EI_CLASS] = ELFCLASS32; }), "E_NOEXEC");
  EXPECT_EQ(spoiled([](auto& header) { header.e_ident[EI_DATA] = ELFDATA2MSB; }), "E_NOEXEC");
  EXPECT_EQ(spoiled([](auto& header) { header.e_type = ET_REL; }), "E_NOEXEC");
  EXPECT_EQ(spoiled([](auto& header) { header.e_type = ET_CORE; }), "E_NOEXEC");
}

TEST(ReadProgramFile, RefusesMalformedTables) {
  auto spoiled = [](const std::function<void(ElfW(Ehdr)&)>& spoil) {
    std::string bytes = OwnBytes();
    spoil(HeaderOf(bytes));
    return CodeOfReading(bytes);
  };
  EXPECT_EQ(spoiled([](auto& header) { header.e_phnum = 0; }), "E_ELF");
  EXPECT_EQ(spoiled([](auto& header) { header.e_phnum = PN_XNUM; }), "E_ELF");
  EXPECT_EQ(spoiled([](auto& header) { header.e_phnum = 300; }), "E_ELF");
  EXPECT_EQ(spoiled([](auto& header) { header.e_phentsize = 1; }), "E_ELF");
  EXPECT_EQ(spoiled([](auto& header) { header.e_phoff = ~uint64_t{0}; }), "E_ELF");
  EXPECT_EQ(spoiled([](auto& header) { header.e_shnum = 0; }), "E_ELF");
  EXPECT_EQ(spoiled([](auto& header) { header.e_shentsize = 3; }), "E_ELF");
  EXPECT_EQ(spoiled([](auto& header) { header.e_shoff = ~uint64_t{0}; }), "E_ELF");
}

TEST(ReadProgramFile, RefusesAProgramWithoutOurNote) {
  UniqueFd fd(open("/bin/sh", O_RDONLY | O_CLOEXEC));
  absl::Status status = ReadProgramFile(fd.get()).status();
  EXPECT_EQ(CodeOf(status), "E_APP");
  EXPECT_THAT(std::string(status.message()), HasSubstr("LIVEEXEC_APPLICATION"));
}

TEST(ReadProgramFile, RefusesASharedLibrary) {
  std::string bytes = OwnBytes();
  // Without its interpreter a position independent program looks like a library, but for DF_1_PIE.
  FindSegment(bytes, PT_INTERP)->p_type = PT_NULL;
  ElfW(Phdr)* dynamic = FindSegment(bytes, PT_DYNAMIC);
  auto* entry = reinterpret_cast<ElfW(Dyn)*>(bytes.data() + dynamic->p_offset);
  for (; entry->d_tag != DT_NULL; ++entry) {
    if (entry->d_tag == DT_FLAGS_1) entry->d_un.d_val = DF_1_NOW;
  }
  EXPECT_EQ(CodeOfReading(bytes), "E_NOEXEC");
}

TEST(ReadProgramFile, RefusesAMissingInterpreter) {
  std::string bytes = OwnBytes();
  ElfW(Phdr)* segment = FindSegment(bytes, PT_INTERP);
  ASSERT_NE(segment, nullptr);
  bytes[segment->p_offset + 1] = '~';
  EXPECT_EQ(CodeOfReading(bytes), "E_INTERP");
  std::string unterminated = OwnBytes();
  FindSegment(unterminated, PT_INTERP)->p_filesz -= 1;
  EXPECT_EQ(CodeOfReading(unterminated), "E_INTERP");
  std::string huge = OwnBytes();
  FindSegment(huge, PT_INTERP)->p_filesz = huge.size() / 2;
  EXPECT_EQ(CodeOfReading(huge), "E_ELF");
}

TEST(ReadProgramFile, RefusesNotesThatItCannotUnderstand) {
  std::string bytes = OwnBytes();
  const size_t name = bytes.find("application\tprogram-file-test");
  ASSERT_NE(name, std::string::npos);
  std::string upper = bytes;
  upper[name + 12] = 'P';
  EXPECT_EQ(CodeOfReading(upper), "E_APP");
  std::string long_note = bytes;
  long_note[name - 21 + 7] = 0x7f;  // the top byte of n_descsz
  EXPECT_EQ(CodeOfReading(long_note), "E_APP");
}

TEST(ReadProgramFile, SurvivesEveryChangedByteOfTheHeaders) {
  const std::string& whole = OwnBytes();
  std::string bytes = whole;
  const size_t headers = sizeof(ElfW(Ehdr)) + HeaderOf(bytes).e_phnum * sizeof(ElfW(Phdr));
  UniqueFd fd = InMemory(whole);
  for (size_t i = 0; i < headers; ++i) {
    for (char value : {'\x00', '\x01', '\x7f', '\xff'}) {
      ASSERT_EQ(pwrite(fd.get(), &value, 1, static_cast<off_t>(i)), 1);
      auto result = ReadProgramFile(fd.get());
      EXPECT_TRUE(result.ok() || CodeOf(result.status()) != "E_INTERNAL")
          << i << ": " << result.status();
    }
    ASSERT_EQ(pwrite(fd.get(), &whole[i], 1, static_cast<off_t>(i)), 1);
  }
  EXPECT_TRUE(ReadProgramFile(fd.get()).ok());
}

// A directory of ours with a copy of this program in it.
class CheckFileTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/lxXXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    directory_ = name;
    path_ = directory_ + "/program";
    Write(OwnBytes());
    ASSERT_EQ(chmod(path_.c_str(), 0755), 0);
  }
  void TearDown() override {
    unlink(path_.c_str());
    unlink((directory_ + "/other").c_str());
    rmdir(directory_.c_str());
  }
  void Write(const std::string& bytes) {
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << bytes;
  }
  std::string Code() { return CodeOf(CheckFile(Syscalls::Kernel(), path_).status()); }

  std::string directory_;
  std::string path_;
};

TEST_F(CheckFileTest, AcceptsAProgramOfOursAndPinsIt) {
  auto program = CheckFile(Syscalls::Kernel(), path_);
  ASSERT_TRUE(program.ok()) << program.status();
  EXPECT_EQ(program->note.application, "program-file-test");
  EXPECT_EQ(program->image.path(), path_);
  EXPECT_TRUE(Unchanged(Syscalls::Kernel(), *program).ok());
  // What is replaced by rename is not what was pinned, which stays readable.
  ASSERT_EQ(rename(path_.c_str(), (directory_ + "/other").c_str()), 0);
  EXPECT_TRUE(ReadPinned(Syscalls::Kernel(), program->image).ok());
}

TEST_F(CheckFileTest, NoticesAWriteInPlace) {
  auto program = CheckFile(Syscalls::Kernel(), path_);
  ASSERT_TRUE(program.ok()) << program.status();
  Write(OwnBytes() + "x");
  EXPECT_EQ(CodeOf(Unchanged(Syscalls::Kernel(), *program)), "E_CHANGED");
}

TEST_F(CheckFileTest, IsThatFileAlsoWhenAnotherTakesItsNameOrItIsRemoved) {
  auto replaced = CheckFile(Syscalls::Kernel(), path_);
  ASSERT_TRUE(replaced.ok()) << replaced.status();
  const std::string next = path_ + ".next";
  std::filesystem::copy_file(path_, next);
  ASSERT_EQ(rename(next.c_str(), path_.c_str()), 0);
  EXPECT_TRUE(Unchanged(Syscalls::Kernel(), *replaced).ok());
  auto removed = CheckFile(Syscalls::Kernel(), path_);
  ASSERT_TRUE(removed.ok()) << removed.status();
  ASSERT_EQ(unlink(path_.c_str()), 0);
  EXPECT_TRUE(Unchanged(Syscalls::Kernel(), *removed).ok());
}

TEST_F(CheckFileTest, NoticesAChangeOfMode) {
  auto program = CheckFile(Syscalls::Kernel(), path_);
  ASSERT_TRUE(program.ok()) << program.status();
  // The clock behind ctime is coarse: a change in the same tick shows in nothing but what it
  // changed.
  struct stat before, after;
  ASSERT_EQ(stat(path_.c_str(), &before), 0);
  do {
    ASSERT_EQ(chmod(path_.c_str(), 0700), 0);
    ASSERT_EQ(stat(path_.c_str(), &after), 0);
  } while (before.st_ctim.tv_sec == after.st_ctim.tv_sec &&
           before.st_ctim.tv_nsec == after.st_ctim.tv_nsec);
  EXPECT_EQ(CodeOf(Unchanged(Syscalls::Kernel(), *program)), "E_CHANGED");
}

TEST_F(CheckFileTest, RefusesWhatIsNotThere) {
  EXPECT_EQ(CodeOf(CheckFile(Syscalls::Kernel(), path_ + "-not").status()), "E_NOENT");
  EXPECT_EQ(CodeOf(CheckFile(Syscalls::Kernel(), path_ + "/x").status()), "E_NOENT");
  EXPECT_EQ(CodeOf(CheckFile(Syscalls::Kernel(), "").status()), "E_NOENT");
}

TEST_F(CheckFileTest, RefusesWhatCannotBeExecuted) {
  ASSERT_EQ(chmod(path_.c_str(), 0644), 0);
  EXPECT_EQ(Code(), "E_ACCES");
  EXPECT_EQ(CodeOf(CheckFile(Syscalls::Kernel(), directory_).status()), "E_ACCES");
  EXPECT_EQ(CodeOf(CheckFile(Syscalls::Kernel(), "/dev/null").status()), "E_ACCES");
  ASSERT_EQ(mkfifo((directory_ + "/other").c_str(), 0755), 0);
  EXPECT_EQ(CodeOf(CheckFile(Syscalls::Kernel(), directory_ + "/other").status()), "E_ACCES");
}

TEST_F(CheckFileTest, RefusesWhatOthersMayWrite) {
  ASSERT_EQ(chmod(path_.c_str(), 0757), 0);
  EXPECT_EQ(Code(), "E_UNSAFE");
  ASSERT_EQ(chmod(path_.c_str(), 0775), 0);
  EXPECT_EQ(Code(), "E_UNSAFE");
  ASSERT_EQ(chmod(path_.c_str(), 0755), 0);
  ASSERT_EQ(chmod(directory_.c_str(), 0777), 0);
  EXPECT_EQ(Code(), "E_UNSAFE");
  // Sticky: others may add entries, but not replace ours.
  ASSERT_EQ(chmod(directory_.c_str(), 01777), 0);
  EXPECT_EQ(Code(), "");
}

TEST_F(CheckFileTest, LooksAtTheDirectoriesThatASymbolicLinkLeadsTo) {
  ASSERT_EQ(chmod(directory_.c_str(), 0777), 0);
  char name[] = "/tmp/lxXXXXXX";
  ASSERT_NE(mkdtemp(name), nullptr);
  const std::string link = std::string(name) + "/link";
  ASSERT_EQ(symlink(path_.c_str(), link.c_str()), 0);
  EXPECT_EQ(CodeOf(CheckFile(Syscalls::Kernel(), link).status()), "E_UNSAFE");
  unlink(link.c_str());
  rmdir(name);
}

TEST_F(CheckFileTest, RefusesFilesOfOthers) {
  // A sandbox's user namespace has nobody to give a file to, so the mode and owner are made up.
  struct stat file = {};
  file.st_mode = S_IFREG | 0755;
  file.st_uid = geteuid();
  EXPECT_TRUE(CheckOneOwner(file, "/x").ok());
  file.st_uid = 0;
  EXPECT_TRUE(CheckOneOwner(file, "/x").ok());
  file.st_uid = geteuid() + 12345;
  EXPECT_EQ(CodeOf(CheckOneOwner(file, "/x")), "E_UNSAFE");
  file.st_mode = S_IFDIR | S_ISVTX | 0777;
  EXPECT_EQ(CodeOf(CheckOneOwner(file, "/x")), "E_UNSAFE");
  file.st_uid = 0;
  EXPECT_TRUE(CheckOneOwner(file, "/tmp").ok());
  file.st_mode = S_IFREG | S_ISVTX | 0757;
  EXPECT_EQ(CodeOf(CheckOneOwner(file, "/x")), "E_UNSAFE");
}

TEST_F(CheckFileTest, RefusesSetIdAndFileCapabilities) {
  ASSERT_EQ(chmod(path_.c_str(), 04755), 0);
  EXPECT_EQ(Code(), "E_PRIV");
  ASSERT_EQ(chmod(path_.c_str(), 02755), 0);
  EXPECT_EQ(Code(), "E_PRIV");
  ASSERT_EQ(chmod(path_.c_str(), 0755), 0);
  // struct vfs_cap_data, revision 2: CAP_NET_BIND_SERVICE permitted and effective.
  const uint32_t capabilities[5] = {0x02000001, 1u << 10, 0, 0, 0};
  if (setxattr(path_.c_str(), "security.capability", capabilities, sizeof(capabilities), 0) != 0) {
    GTEST_SKIP() << "may not set file capabilities here: " << strerror(errno);
  }
  EXPECT_EQ(Code(), "E_PRIV");
}

}  // namespace
}  // namespace liveexec
