using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>
/// The processes that were given the client's memory: the one that serves, and those that were parted with before they had let go of it. When one of these wakes up it writes to buffers that are others' by
/// then. It may serve again itself, once it has finished with them or will not; another one not before it has ended.
/// </summary>
/// <remarks>Threading: one after the other, as the sessions follow one another.</remarks>
internal sealed class MemoryHolders : IDisposable
{
    private readonly List<PeerProcess> _former = [];
    private PeerProcess? _serving;

    /// <summary>A process has taken the memory, and serves.</summary>
    /// <param name="process">Owned from here on; null when it is not known.</param>
    internal void Serve(PeerProcess? process)
    {
        if (process is not null)
            Forget(former => former.Id == process.Id);
        _serving = process;
    }

    /// <summary>The session with the one that serves is over.</summary>
    /// <param name="hasLetGo">Whether it is known to use the memory no more.</param>
    internal void Part(bool hasLetGo)
    {
        Part(_serving, hasLetGo);
        _serving = null;
    }

    /// <summary>The session with one that was given memory is over.</summary>
    /// <param name="process">Owned from here on; null when it is not known.</param>
    /// <param name="hasLetGo">Whether it is known to use the memory no more.</param>
    internal void Part(PeerProcess? process, bool hasLetGo)
    {
        Forget(static former => former.HasEnded);
        if (process is not null && !hasLetGo && !_former.Exists(former => former.Id == process.Id))
            _former.Add(process);
        else
            process?.Dispose();
    }

    /// <summary>Before a process is given the memory.</summary>
    /// <param name="next">Its number; 0 when it is not known.</param>
    /// <exception cref="VhostUserDisconnectedException">Another one still has it; that may pass.</exception>
    internal void ThrowIfAnotherOneLives(int next)
    {
        Forget(static former => former.HasEnded);
        if (_former.Find(former => former.Id != next) is { } holder)
        {
            throw new VhostUserDisconnectedException(
                $"Process {holder.Id}, which was given up with requests in its hands, still lives and may write to their memory; it must end before another one (process {next}) serves them.");
        }
    }

    public void Dispose()
    {
        Forget(static _ => true);
        _serving?.Dispose();
        _serving = null;
    }

    private void Forget(Predicate<PeerProcess> which)
    {
        foreach (PeerProcess process in _former.FindAll(which))
        {
            _former.Remove(process);
            process.Dispose();
        }
    }
}
