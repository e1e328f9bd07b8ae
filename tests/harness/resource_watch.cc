#include "tests/harness/resource_watch.h"

#include <dirent.h>
#include <unistd.h>

#include <cctype>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/harness/clock.h"

namespace liveexec::harness {

namespace {

constexpr size_t kMaxSamples = 200'000;

int64_t ResidentBytes(const std::string& pid) {
  std::ifstream statm(absl::StrCat("/proc/", pid, "/statm"));
  int64_t size = 0;
  int64_t resident = 0;
  statm >> size >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

// A thread group that shares its address space with another (a custodian) would count twice.
bool IsSharer(const std::string& pid) {
  std::ifstream comm(absl::StrCat("/proc/", pid, "/cmdline"));
  std::string text;
  std::getline(comm, text);
  return text.empty();
}

}  // namespace

ResourceSample ResourceWatch::SampleOf(pid_t group) {
  ResourceSample sample{.at_ns = NowNs()};
  DIR* proc = opendir("/proc");
  if (proc == nullptr) return sample;
  while (const dirent* entry = readdir(proc)) {
    if (std::isdigit(static_cast<unsigned char>(entry->d_name[0])) == 0) continue;
    const std::string pid = entry->d_name;
    if (getpgid(static_cast<pid_t>(std::atoi(entry->d_name))) != group || IsSharer(pid)) continue;
    ++sample.processes;
    sample.resident_bytes += ResidentBytes(pid);
  }
  closedir(proc);
  return sample;
}

ResourceWatch::ResourceWatch(pid_t group, absl::Duration interval)
    : group_(group), interval_(interval), thread_([this] { Run(); }) {}

ResourceWatch::~ResourceWatch() { Finish(); }

void ResourceWatch::Run() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!ended_ && samples_.size() < kMaxSamples) {
    lock.unlock();
    const ResourceSample sample = SampleOf(group_);
    lock.lock();
    samples_.push_back(sample);
    changed_.wait_for(lock, std::chrono::nanoseconds(absl::ToInt64Nanoseconds(interval_)),
                      [this] { return ended_; });
  }
}

std::vector<ResourceSample> ResourceWatch::Finish() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ended_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
  return std::move(samples_);
}

}  // namespace liveexec::harness
