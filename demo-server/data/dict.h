// Dict: a hash table of nodes, each one allocation that ends with the bytes of its key.
//
//   struct Field : DictNode<Field> { Bytes value; };
//   Dict<Field> fields(seed);
//   uint64_t hash = fields.HashOf("name");
//   if (fields.Find("name", hash) == nullptr) fields.Insert("name", hash)->value = "x";
//
// Three ways into the same nodes:
// - by key: chained buckets. A bucket is a range of hash values (its number is the hash's leading
// bits), so
//   buckets are in hash order whatever their number is;
// - by slot: a dense array, for uniformly random picks, and for iteration in insertion order (kept
// by erasing
//   in tables of up to kOrderedSize nodes; in larger ones the last node takes an erased one's
//   slot);
// - by cursor: Scan goes through the hash values in ascending order. A cursor is a hash value, so
// it stays
//   good whatever happens to the table meanwhile, being rebuilt by another program included: a node
//   that is present all the time is visited exactly once.
//
// Growing and shrinking are incremental: each change of the table moves a few buckets. While that
// lasts, the buckets below moved_ are in the new array, the others in the old one.
//
// Pointers to nodes are stable. Not thread-safe.
#ifndef LIVEEXEC_DEMO_SERVER_DATA_DICT_H_
#define LIVEEXEC_DEMO_SERVER_DATA_DICT_H_

#include <cstdint>
#include <cstring>
#include <new>
#include <string_view>
#include <utility>

#include "demo-server/data/hash_bytes.h"
#include "demo-server/data/storage.h"

namespace liveexec::demo {

template <typename Node>
struct DictNode {
  Node* next = nullptr;
  uint64_t hash = 0;
  uint32_t slot = 0;
  uint32_t key_size = 0;  // no key is longer than 512 MiB

  std::string_view key() const {
    return {reinterpret_cast<const char*>(static_cast<const Node*>(this) + 1), key_size};
  }
};

template <typename Node>
class Dict {
 public:
  static constexpr size_t kOrderedSize = 128;

  explicit Dict(uint64_t seed) : seed_(seed) {}
  Dict(const Dict&) = delete;
  Dict& operator=(const Dict&) = delete;
  ~Dict() { Clear(); }

  size_t size() const { return nodes_.size(); }
  bool empty() const { return nodes_.empty(); }
  uint64_t seed() const { return seed_; }
  uint64_t HashOf(std::string_view key) const { return HashBytes(key, seed_); }

  Node* Find(std::string_view key) const { return empty() ? nullptr : Find(key, HashOf(key)); }
  Node* Find(std::string_view key, uint64_t hash) const {
    if (empty()) return nullptr;
    for (Node* node = *BucketOf(hash); node != nullptr; node = node->next) {
      if (node->hash == hash && node->key() == key) return node;
    }
    return nullptr;
  }

  // Adds a node for `key`, which must be absent; `args` go to the node's constructor.
  template <typename... Args>
  Node* Insert(std::string_view key, uint64_t hash, Args&&... args) {
    Step();
    nodes_.reserve(nodes_.size() + 1 <= nodes_.capacity() ? 0 : nodes_.size() * 2 + 1);
    if (current_.buckets == nullptr) current_ = MakeTable(kLeastBits);
    Node* node = new (AllocateStorage(sizeof(Node) + key.size())) Node(std::forward<Args>(args)...);
    node->hash = hash;
    node->key_size = static_cast<uint32_t>(key.size());
    if (!key.empty()) memcpy(reinterpret_cast<char*>(node + 1), key.data(), key.size());
    node->slot = static_cast<uint32_t>(nodes_.size());
    nodes_.push_back(node);
    Node** bucket = BucketOf(hash);
    node->next = *bucket;
    *bucket = node;
    if (nodes_.size() > current_.size() && !Moving()) StartMoving(current_.bits + 1);
    return node;
  }

  void Erase(Node* node) {
    Step();
    Node** link = BucketOf(node->hash);
    while (*link != node) link = &(*link)->next;
    *link = node->next;
    RemoveSlot(node->slot);
    FreeNode(node);
    if (!Moving() && current_.bits > kLeastBits && nodes_.size() < current_.size() / 8) {
      StartMoving(current_.bits - 1);
    }
  }

  void Clear() {
    for (Node* node : nodes_) FreeNode(node);
    StoredVector<Node*>().swap(nodes_);
    FreeTable(current_);
    FreeTable(old_);
    moved_ = 0;
  }

  // Makes room for `count` nodes at once: for loading.
  void Reserve(size_t count) {
    if (!empty() || count == 0) return;
    FreeTable(current_);
    current_ = MakeTable(BitsFor(count));
    nodes_.reserve(count);
  }

  // How many nodes there can be before there has to be more memory for slots.
  size_t capacity() const { return nodes_.capacity(); }
  void GrowSlots() { nodes_.reserve(nodes_.capacity() * 2 + 1); }

  // What Reserve takes of the storage (ResidentHeap::CapacityOf), without the nodes.
  static size_t TablesFor(size_t count) {
    if (count == 0) return 0;
    return ResidentHeap::CapacityOf(count * sizeof(Node*)) +
           ResidentHeap::CapacityOf(sizeof(Node*) << BitsFor(count));
  }

  // All nodes, in slot order. Invalid after any change.
  const StoredVector<Node*>& nodes() const { return nodes_; }

  // Calls visit(Node*) for the nodes of one bucket from `cursor` on (0: from the start), and
  // returns the next cursor, 0 at the end. visit may not change the table. Cursors are below 2^48.
  template <typename Visit>
  uint64_t Scan(uint64_t cursor, Visit visit) const {
    if (empty()) return 0;
    cursor &= (uint64_t{1} << kCursorBits) - 1;
    const uint64_t hash = cursor << (64 - kCursorBits);
    const bool in_old = Moving() && old_.IndexOf(hash) >= moved_;
    const Table& table = in_old ? old_ : current_;
    const uint64_t index = table.IndexOf(hash);
    for (Node* node = table.buckets[index]; node != nullptr; node = node->next) {
      if (node->hash >> (64 - kCursorBits) >= cursor) visit(node);
    }
    if (index + 1 == table.size()) return 0;
    return (index + 1) << (kCursorBits - table.bits);
  }

 private:
  static constexpr int kLeastBits = 2;
  static constexpr int kMostBits = 40;
  static constexpr int kCursorBits = 48;

  struct Table {
    Node** buckets = nullptr;
    int bits = 0;
    size_t size() const { return buckets == nullptr ? 0 : size_t{1} << bits; }
    uint64_t IndexOf(uint64_t hash) const { return hash >> (64 - bits); }
  };

  static int BitsFor(size_t count) {
    int bits = kLeastBits;
    while (bits < kMostBits && (size_t{1} << bits) < count) ++bits;
    return bits;
  }
  static Table MakeTable(int bits) {
    Table table;
    table.bits = bits;
    const size_t bytes = sizeof(Node*) << bits;
    table.buckets = static_cast<Node**>(AllocateStorage(bytes));
    memset(static_cast<void*>(table.buckets), 0, bytes);
    return table;
  }
  static void FreeTable(Table& table) {
    if (table.buckets != nullptr) FreeStorage(table.buckets, sizeof(Node*) << table.bits);
    table = Table();
  }
  static void FreeNode(Node* node) {
    const size_t size = sizeof(Node) + node->key_size;
    node->~Node();
    FreeStorage(node, size);
  }

  bool Moving() const { return old_.buckets != nullptr; }

  Node** BucketOf(uint64_t hash) const {
    if (Moving()) {
      const uint64_t index = old_.IndexOf(hash);
      if (index >= moved_) return &old_.buckets[index];
    }
    return &current_.buckets[current_.IndexOf(hash)];
  }

  void StartMoving(int bits) {
    if (bits > kMostBits) return;
    Table table;
    try {
      table = MakeTable(bits);
    } catch (const std::bad_alloc&) {
      return;  // Chains grow longer, or stay as they are.
    }
    old_ = current_;
    current_ = table;
    moved_ = 0;
  }

  // Moves a few buckets. Four at each change end before the next doubling is due.
  void Step() {
    if (!Moving()) return;
    for (int i = 0; i < 4 && moved_ < old_.size(); ++i) {
      Node* node = old_.buckets[moved_];
      while (node != nullptr) {
        Node* next = node->next;
        Node** bucket = &current_.buckets[current_.IndexOf(node->hash)];
        node->next = *bucket;
        *bucket = node;
        node = next;
      }
      ++moved_;
    }
    if (moved_ == old_.size()) FreeTable(old_);
  }

  void RemoveSlot(uint32_t slot) {
    if (nodes_.size() <= kOrderedSize) {
      nodes_.erase(nodes_.begin() + slot);
      for (size_t i = slot; i < nodes_.size(); ++i) nodes_[i]->slot = static_cast<uint32_t>(i);
      return;
    }
    nodes_[slot] = nodes_.back();
    nodes_[slot]->slot = slot;
    nodes_.pop_back();
  }

  uint64_t seed_;
  Table current_;
  Table old_;         // has buckets while moving
  size_t moved_ = 0;  // buckets of old_ below this one are empty: their nodes are in current_
  StoredVector<Node*> nodes_;
};

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_DATA_DICT_H_
