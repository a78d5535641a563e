using Microsoft.Win32.SafeHandles;

namespace Vhost.Protocol;

/// <summary>
/// Waits for descriptors on behalf of everybody: one background thread with one epoll instance for the process, started by the first wait.
/// It runs no code of its callers; a wait that ends is handed to the thread pool.
/// </summary>
/// <remarks>
/// Every wait is one-shot: the kernel reports it once and then says nothing until the next wait, so that a peer who signals without end
/// cannot keep the thread busy. An event names a slot and the number of the wait, never a descriptor: an event that was under way while its
/// descriptor was closed and the number given to another file finds nobody.
/// </remarks>
internal sealed class Reactor
{
    private const int EventsPerWait = 64;
    private static Reactor? _shared;
    private static bool _isShared;
    private static object? _sharedGate;

    private readonly Lock _gate = new();
    private readonly SafeFileHandle _epoll = Libc.EpollCreate();
    private readonly Stack<int> _free = new();
    private Slot[] _slots = new Slot[16];
    private int _used;

    private Reactor()
    {
        Thread thread = new(Run, maxStackSize: 256 * 1024) { IsBackground = true, Name = "vhost-user reactor" };
        thread.Start();
    }

    /// <summary>Made by the first who needs it. A failure, of a process that may open no more files, is that of the one who asked: the next one tries again.</summary>
    internal static Reactor Shared => LazyInitializer.EnsureInitialized(ref _shared, ref _isShared, ref _sharedGate, static () => new Reactor())!;

    /// <summary>Prepares waiting for a descriptor, which stays open until the registration is disposed, whoever disposes the handle before.</summary>
    internal ReactorRegistration Register(SafeFileHandle descriptor, bool ignoreHangUp = false)
    {
        lock (_gate)
        {
            if (!_free.TryPop(out int slot))
            {
                if (_used == _slots.Length) Array.Resize(ref _slots, _used * 2);
                slot = _used++;
            }

            try
            {
                return _slots[slot].Registration = new ReactorRegistration(this, descriptor, slot, _slots[slot].LastWait) { IgnoreHangUp = ignoreHangUp };
            }
            catch
            {
                _free.Push(slot);
                throw;
            }
        }
    }

    /// <summary>Forgets a registration; the number of its last wait stays with the slot, so that late events never match its successor.</summary>
    internal void Remove(int slot, uint lastWait)
    {
        lock (_gate)
        {
            _slots[slot] = new Slot { LastWait = lastWait };
            _free.Push(slot);
        }
    }

    /// <returns>0 or the error number.</returns>
    internal int Control(int operation, SafeFileHandle descriptor, uint events, int slot, uint wait) =>
        Libc.EpollControl(_epoll, operation, descriptor, events, ((ulong)wait << 32) | (uint)slot);

    private void Run()
    {
        byte[] buffer = GC.AllocateArray<byte>(EventsPerWait * EpollEvent.LargestSize, pinned: true);
        while (true)
        {
            int count = Libc.EpollWait(_epoll, buffer, Timeout.Infinite);
            for (int i = 0; i < count; i++) Dispatch(EpollEvent.Read(buffer, i));
        }
    }

    private void Dispatch(EpollEvent happened)
    {
        ReactorRegistration? registration;
        lock (_gate) registration = _slots[(int)(uint)happened.Data].Registration;
        registration?.OnEvents(happened.Events, (uint)(happened.Data >> 32));
    }

    private struct Slot
    {
        internal ReactorRegistration? Registration;
        internal uint LastWait;
    }
}
