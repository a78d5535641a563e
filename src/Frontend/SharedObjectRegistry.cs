using System.Globalization;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>
/// Objects that devices share (SHARED_OBJECT): which number belongs to which session, or to a descriptor of the hypervisor's own. One registry serves all sessions of a guest
/// (<see cref="VhostUserFrontendOptions.SharedObjects"/>), so that one device finds what another has made known.
/// </summary>
/// <remarks>
/// Any thread. An object of a session vanishes with the session. Its descriptor is asked for each time (GET_SHARED_OBJECT), on the owner's main channel; owners that look each other's objects up at the same time do not
/// wait for one another, since each back-end answers on the one channel while it asks on the other. An owner that does not answer keeps a back-end that asks waiting for five seconds; for one second where the interrupts of
/// that back-end come on the same channel (INBAND_NOTIFICATIONS), or it asks for translations there (ACCESS_PLATFORM).
/// </remarks>
public sealed class SharedObjectRegistry : IDisposable
{
    /// <summary>Shorter than whoever asks waits (ten seconds, by default): one back-end's silence must not cost another its channel.</summary>
    private static readonly TimeSpan _longestWait = TimeSpan.FromSeconds(5);

    private static readonly TimeSpan _urgentWait = TimeSpan.FromSeconds(1);

    private readonly Lock _gate = new();
    private readonly Dictionary<Guid, Entry> _entries = [];

    /// <summary>How many objects there are of each session that has any.</summary>
    private readonly Dictionary<VhostUserFrontend, int> _known = [];
    private readonly int _mostPerSession;
    private readonly TimeProvider _time;
    private bool _disposed;

    /// <summary>Makes an empty registry.</summary>
    /// <param name="mostPerSession">How many objects one back-end may make known, 1 or more; further ones are refused.</param>
    /// <param name="time">The clock for <see cref="FindAsync(Guid, CancellationToken)"/>; null: that of the machine.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="mostPerSession"/> is less than 1.</exception>
    public SharedObjectRegistry(int mostPerSession = 256, TimeProvider? time = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(mostPerSession, 1);
        (_mostPerSession, _time) = (mostPerSession, time ?? TimeProvider.System);
    }

    /// <summary>How many objects there are.</summary>
    public int Count
    {
        get
        {
            lock (_gate)
                return _entries.Count;
        }
    }

    /// <summary>Makes an object of the hypervisor's own known.</summary>
    /// <param name="id">Its number.</param>
    /// <param name="descriptor">Its descriptor. Ownership passes to the registry, also when this throws.</param>
    /// <exception cref="ArgumentException">There is an object with that number.</exception>
    /// <exception cref="ObjectDisposedException">The registry was disposed.</exception>
    public void Add(Guid id, SafeFileHandle descriptor)
    {
        ArgumentNullException.ThrowIfNull(descriptor);
        lock (_gate)
        {
            if (!_disposed && _entries.TryAdd(id, new Entry(Owner: null, descriptor)))
                return;
        }

        descriptor.Dispose();
        ObjectDisposedException.ThrowIf(_disposed, this);
        throw new ArgumentException($"There is an object {id} already.", nameof(id));
    }

    /// <summary>Forgets an object of the hypervisor's own and closes its descriptor; those of back-ends are theirs to remove.</summary>
    /// <param name="id">Its number.</param>
    /// <returns>False: there is none.</returns>
    public bool Remove(Guid id) => TryRemove(id, owner: null);

    /// <summary>Finds an object, whoever has made it known.</summary>
    /// <param name="id">Its number.</param>
    /// <param name="cancellationToken">Ends the wait; the owner is not concerned.</param>
    /// <returns>A descriptor of the caller's own; null: nobody has it, or the back-end that has it is lost, gives it no more, or does not answer within five seconds; or this process may open no more files.</returns>
    public ValueTask<SafeFileHandle?> FindAsync(Guid id, CancellationToken cancellationToken = default) => FindForAsync(id, isUrgent: false, cancellationToken);

    /// <summary>The same for a back-end that asks.</summary>
    /// <param name="id">Its number.</param>
    /// <param name="isUrgent">Interrupts or translations wait behind the answer: an owner has a second.</param>
    /// <param name="cancellationToken">Ends the wait; the owner is not concerned.</param>
    internal async ValueTask<SafeFileHandle?> FindForAsync(Guid id, bool isUrgent, CancellationToken cancellationToken)
    {
        VhostUserFrontend owner;
        lock (_gate)
        {
            if (!_entries.TryGetValue(id, out Entry entry))
                return null;
            if (entry.Owner is null)
                return DuplicateOrNull(entry.Descriptor!);
            owner = entry.Owner;
        }

        // Never cancelled itself: that would end the session of the owner, who has nothing to do with whoever asks.
        Task<SafeFileHandle?> asked = owner.Requests.GetSharedObjectAsync(id, CancellationToken.None).AsTask();
        try
        {
            return await asked.WaitAsync(isUrgent ? _urgentWait : _longestWait, _time, cancellationToken).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            _ = CloseLateAsync(asked);
            throw;
        }
        catch (TimeoutException)
        {
            _ = CloseLateAsync(asked);
            return null;
        }
        catch (Exception e) when (e is VhostUserException or ObjectDisposedException)
        {
            return null; // the owner is lost, which its own session says
        }
    }

    /// <summary>Forgets everything, for good, and closes the hypervisor's own descriptors.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            _disposed = true;
            foreach (Entry entry in _entries.Values)
                entry.Descriptor?.Dispose();
            _entries.Clear();
            _known.Clear();
        }
    }

    internal bool TryAdd(Guid id, VhostUserFrontend owner, out string explanation)
    {
        lock (_gate)
        {
            int known = _known.GetValueOrDefault(owner);
            explanation = _disposed ? "the hypervisor has no objects any more"
                : known >= _mostPerSession ? string.Create(CultureInfo.InvariantCulture, $"{known} objects are known of it, the most allowed")
                : _entries.ContainsKey(id) ? $"there is an object {id} already" : "";
            if (explanation.Length > 0)
                return false;
            _entries.Add(id, new Entry(owner, Descriptor: null));
            _known[owner] = known + 1;
            return true;
        }
    }

    internal bool TryRemove(Guid id, VhostUserFrontend? owner)
    {
        lock (_gate)
        {
            if (!_entries.TryGetValue(id, out Entry entry) || !ReferenceEquals(entry.Owner, owner))
                return false;
            _entries.Remove(id);
            entry.Descriptor?.Dispose();
            if (owner is not null)
                _known[owner]--;
            return true;
        }
    }

    /// <summary>The session has ended.</summary>
    internal void Forget(VhostUserFrontend owner)
    {
        lock (_gate)
        {
            if (!_known.Remove(owner))
                return;
            foreach (Guid id in _entries.Where(pair => ReferenceEquals(pair.Value.Owner, owner)).Select(pair => pair.Key).ToArray())
                _entries.Remove(id);
        }
    }

    /// <summary>A process that may open no more files has none to give.</summary>
    private static SafeFileHandle? DuplicateOrNull(SafeFileHandle descriptor)
    {
        try
        {
            return Libc.Duplicate(descriptor);
        }
        catch (LinuxException)
        {
            return null;
        }
    }

    private static async Task CloseLateAsync(Task<SafeFileHandle?> asked)
    {
        try
        {
            (await asked.ConfigureAwait(false))?.Dispose();
        }
        catch (Exception e) when (e is VhostUserException or ObjectDisposedException)
        {
            // The owner is lost.
        }
    }

    private readonly record struct Entry(VhostUserFrontend? Owner, SafeFileHandle? Descriptor);
}
