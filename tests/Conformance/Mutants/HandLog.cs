using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Conformance.Tests.Mutants;

/// <summary>The dirty log of a session.</summary>
internal sealed class HandLog(HandSession session) : IDisposable
{
    private DirtyLog? _log;
    private EventNotifier? _changed;

    public bool TrySetBase(VhostUserLog said, SafeFileHandle descriptor)
    {
        ulong last = session.Space.Table.Regions is [.., var top] ? top.GuestAddress.Value + (top.Size - 1) : 0;
        if (said.MmapSize < (last / DirtyLog.PageSize / 8) + 1)
        {
            descriptor.Dispose();
            return false;
        }

        DirtyLog next;
        try
        {
            next = DirtyLog.Map(descriptor, session.Is(Sin.IgnoresLogOffset) ? 0 : said.MmapOffset, said.MmapSize);
        }
        catch (Exception e) when (e is IOException or ArgumentException or OverflowException)
        {
            return false;
        }

        Use(next);
        return true;
    }

    public void SetChanged(EventNotifier changed)
    {
        _changed?.Dispose();
        _changed = changed;
    }

    /// <summary>Pages of a buffer, or of a ring, that were written.</summary>
    public void Mark(GuestAddress at, uint length)
    {
        if (_log is null || session.Is(Sin.MarksNothing)) return;
        if (!session.Has(VirtioFeatures.LogAll) && !session.Is(Sin.MarksWithoutLogAll)) return;
        if (session.Is(Sin.MarksPageBehind)) at = new GuestAddress(at.Value + DirtyLog.PageSize);
        if (session.Is(Sin.MarksFirstPageOnly)) length = 1;
        if (session.Is(Sin.MarksNoShortWrite) && length < 16) return;
        _log.Mark(at, length);
        _changed?.Signal();
    }

    public void Dispose()
    {
        _log?.Dispose();
        _changed?.Dispose();
        (_log, _changed) = (null, null);
    }

    private void Use(DirtyLog next)
    {
        if (_log is not null && session.Is(Sin.KeepsOldLog))
        {
            next.Dispose();
            return;
        }

        _log?.Dispose();
        _log = next;
    }
}
