// Cells 9 to 23, 77 and 78: what is wrong with a candidate that can be seen without running it.
#include <elf.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "tests/faults/cells.h"
#include "tests/faults/fault_run.h"
#include "tests/faults/tracer.h"

namespace liveexec::faults {
namespace {

namespace fs = std::filesystem;

void Overwrite(const std::string& path, size_t offset, const std::string& bytes) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(static_cast<std::streamoff>(offset));
  file << bytes;
  if (!file.flush()) throw std::runtime_error("cannot change " + path);
}

void Write(const std::string& path, const std::string& content) {
  std::ofstream(path) << content;
  chmod(path.c_str(), 0755);
}

Seen Missing(FaultRun& run) { return run.Upgrade(run.File("missing")); }

Seen NotExecutable(FaultRun& run) {
  const std::string path = run.CopyOf("v2");
  chmod(path.c_str(), 0644);
  return run.Upgrade(path);
}

Seen WrongArchitecture(FaultRun& run) {
  const std::string path = run.CopyOf("v2");
  const char machine[] = {EM_SPARC, 0};
  Overwrite(path, offsetof(Elf64_Ehdr, e_machine), std::string(machine, 2));
  return run.Upgrade(path);
}

Seen Empty(FaultRun& run) {
  Write(run.File("empty"), "");
  return run.Upgrade(run.File("empty"));
}

Seen Truncated(FaultRun& run) {
  const std::string path = run.CopyOf("v2");
  fs::resize_file(path, fs::file_size(path) / 2);
  return run.Upgrade(path);
}

Seen BadInterpreter(FaultRun& run) {
  return run.Upgrade(
      run.PatchedCopyOf("v2", "/lib64/ld-linux-x86-64.so.2", "/lib64/ld-linux-x86-64.so.9"));
}

Seen Script(FaultRun& run) {
  Write(run.File("script"), "#!/bin/sh\nexit 0\n");
  return run.Upgrade(run.File("script"));
}

Seen WorldWritable(FaultRun& run) {
  const std::string path = run.CopyOf("v2");
  chmod(path.c_str(), 0777);
  return run.Upgrade(path);
}

Seen WorldWritableParent(FaultRun& run) {
  const std::string directory = run.File("open");
  mkdir(directory.c_str(), 0755);
  fs::rename(run.CopyOf("v2"), directory + "/program");
  chmod(directory.c_str(), 0777);
  return run.Upgrade(directory + "/program");
}

// What was checked is what runs, whatever the link leads to since.
Seen SymlinkSwapped(FaultRun& run) {
  const std::string link = run.File("link");
  fs::create_symlink(FaultRun::Program("bad"), link);
  run.SetPlan("bad rehearsal rehydrate stop");
  run.BeginUpgrade(link);
  run.AwaitStop();
  fs::create_symlink(FaultRun::Program("stranger"), link + ".new");
  fs::rename(link + ".new", link);
  run.Go();
  const Seen seen = run.AwaitUpgrade();
  run.Expect(run.Stats()["role"] == "bad", "it is not the checked program that runs");
  return seen;
}

Seen OpenForWriting(FaultRun& run) {
  const std::string path = run.CopyOf("v2");
  const UniqueFd writer(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  return run.Upgrade(path);
}

Seen SetUser(FaultRun& run) {
  const std::string path = run.CopyOf("v2");
  chmod(path.c_str(), 04755);
  return run.Upgrade(path);
}

Seen FileCapabilities(FaultRun& run) {
  const std::string path = run.CopyOf("v2");
  // cap_net_bind_service=ep, as setcap writes it.
  const struct vfs_cap_data capability = {.magic_etc = VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE,
                                          .data = {{1 << 10, 0}, {0, 0}}};
  if (setxattr(path.c_str(), "security.capability", &capability, sizeof(capability), 0) != 0) {
    throw Skipped{"this file system, or user, cannot set file capabilities"};
  }
  return run.Upgrade(path);
}

// A file system of its own, unmounted at the end.
class Tmpfs {
 public:
  Tmpfs(std::string path, unsigned long flags) : path_(std::move(path)) {
    mkdir(path_.c_str(), 0755);
    if (mount("none", path_.c_str(), "tmpfs", flags, "size=64m,mode=755") != 0) {
      throw Skipped{"mounting a tmpfs is not permitted here"};
    }
  }
  ~Tmpfs() { umount2(path_.c_str(), MNT_DETACH); }
  Tmpfs(const Tmpfs&) = delete;
  Tmpfs& operator=(const Tmpfs&) = delete;

 private:
  std::string path_;
};

Seen MountedNoexec(FaultRun& run) {
  const Tmpfs tmpfs(run.File("noexec"), MS_NOEXEC);
  fs::copy_file(FaultRun::Program("v2"), run.File("noexec/program"));
  return run.Upgrade(run.File("noexec/program"));
}

Seen AnotherHash(FaultRun& run) {
  return run.Upgrade(
      ControlUpgrade{.binary = FaultRun::Program("v2"), .sha256 = std::string(64, 'a')});
}

// Two reads of a slow disk take longer than the deadline.
Seen SlowDisk(FaultRun& run) {
  const Tracer tracer(
      run.pid(), {"-e", "trace=pread64", "-e", "inject=pread64:delay_enter=2500000"}, Tracer::kAll);
  return run.Upgrade(
      ControlUpgrade{.binary = FaultRun::Program("v2"), .sha256 = std::string(64, 'a')});
}

// The same while its headers and notes are read.
Seen SlowDiskWithoutHash(FaultRun& run) {
  const Tracer tracer(
      run.pid(), {"-e", "trace=pread64", "-e", "inject=pread64:delay_enter=2500000"}, Tracer::kAll);
  return run.Upgrade(FaultRun::Program("v2"));
}

Seen CarriesUserfaultfd(FaultRun& run) {
  run.SetPlan("v1 * export carry-userfaultfd");
  const Seen seen = run.Upgrade(FaultRun::Program("v2"));
  run.Expect(seen.message.find("state/special") != std::string::npos,
             "the message does not name the fd: " + seen.message);
  run.Side("drop");
  return seen;
}

// The file that tells how much memory is left says that there is none.
Seen LittleMemory(FaultRun& run) {
  std::string text;
  for (const unsigned char c : std::string("MemAvailable: 9 kB\n")) {
    text += absl::StrCat(absl::Hex(c, absl::kZeroPad2));
  }
  const Tracer tracer(run.pid(),
                      {"-P", "/proc/meminfo", "-e", "trace=read", "-e",
                       absl::StrCat("inject=read:poke_exit=@arg2=", text)},
                      Tracer::kAll);
  return run.Upgrade(FaultRun::Program("v2"));
}

Seen AnotherApplication(FaultRun& run) { return run.Upgrade(FaultRun::Program("stranger")); }

Seen NoneOfOurs(FaultRun& run) { return run.Upgrade("/bin/true"); }

Seen FewFdsLeft(FaultRun& run) {
  const SoftLimit few(run.pid(), RLIMIT_NOFILE, 40);
  return run.Upgrade(FaultRun::Program("v2"));
}

}  // namespace

std::vector<Cell> CheckingCells() {
  return {
      {"9", "RefusesAMissingBinary", "A", "E_NOENT", Missing},
      {"10", "RefusesABinaryThatIsNotExecutable", "A", "E_ACCES", NotExecutable},
      {"11", "RefusesAnotherArchitecture", "A", "E_NOEXEC", WrongArchitecture},
      {"12", "RefusesAnEmptyFile", "A", "E_ELF", Empty},
      {"12", "RefusesATruncatedBinary", "A", "E_ELF", Truncated},
      {"13", "RefusesABadInterpreter", "A", "E_INTERP", BadInterpreter},
      {"14", "RefusesAScript", "A", "E_SCRIPT", Script},
      {"15", "RefusesAWorldWritableBinary", "A", "E_UNSAFE", WorldWritable},
      {"15", "RefusesAWorldWritableParent", "A", "E_UNSAFE", WorldWritableParent},
      {"16", "RunsWhatWasCheckedWhenASymlinkIsSwapped", "B", "", SymlinkSwapped},
      {"17", "RefusesABinaryThatIsOpenForWriting", "A", "E_TXTBSY", OpenForWriting},
      {"18", "RefusesASetUserIdBinary", "A", "E_PRIV", SetUser},
      {"18", "RefusesFileCapabilities", "A", "E_PRIV", FileCapabilities},
      {"19", "RefusesANoexecMount", "A", "E_ACCES", MountedNoexec},
      {"20", "RefusesAnotherHash", "A", "E_HASH", AnotherHash},
      {"21", "GivesUpOnASlowDiskWhileReadingNotes", "A", "E_TIMEOUT", SlowDiskWithoutHash,
       Proof::kServes, "check=2000"},
      {"21", "GivesUpOnASlowDisk", "A", "E_TIMEOUT", SlowDisk, Proof::kServes, "check=2000"},
      {"22", "RefusesAnFdThatCannotCross", "A", "E_FD", CarriesUserfaultfd},
      {"23", "RefusesWhenMemoryIsShort", "A", "E_NOMEM", LittleMemory},
      {"77", "RefusesAnotherApplication", "A", "E_APP", AnotherApplication},
      {"77", "RefusesAProgramWithoutNote", "A", "E_APP", NoneOfOurs},
      {"78", "RefusesWhenTooFewFdsAreLeft", "A", "E_FDS", FewFdsLeft},
  };
}

}  // namespace liveexec::faults
