using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>Checks the base a back-end answers, against the message and against the ring itself.</summary>
internal static class VringBaseCheck
{
    private const ulong IndexOffset = 2;

    public static VringBase Read(VhostUserVringState reply, FrontendVring ring, VirtioFeatures negotiated, GuestMemory memory, bool isAtRest)
    {
        if (reply.Index != (uint)ring.Index)
            throw Wrong(ring, $"the reply is about ring {reply.Index}");
        if (!VringBase.TryFromWire(reply.Num, negotiated, ring.Settings.Size, isAtRest, out VringBase value))
        {
            string kind = (negotiated & VirtioFeatures.RingPacked) != 0 ? "packed" : "split";
            throw Wrong(ring, $"0x{reply.Num:x8} is not a base of a {kind} ring of size {ring.Settings.Size}");
        }

        if ((negotiated & (VirtioFeatures.RingPacked | VirtioFeatures.AccessPlatform)) == 0)
            CompareWithRing(value, ring, memory);
        return value;
    }

    /// <summary>
    /// The device has fetched at most what is available, and what it has fetched and not used fits into the ring. Both indices run freely
    /// over 16 bits, so distances are taken modulo 65536.
    /// </summary>
    private static void CompareWithRing(VringBase value, FrontendVring ring, GuestMemory memory)
    {
        if (!TryReadIndices(ring, memory, out ushort available, out ushort used))
            return;
        ushort notFetched = (ushort)(available - value.AvailableIndex);
        ushort inFlight = (ushort)(value.AvailableIndex - used);
        if (notFetched > ring.Settings.Size || inFlight > ring.Settings.Size)
        {
            throw Wrong(
                ring,
                $"base {value.AvailableIndex} does not fit the ring of size {ring.Settings.Size} with available index {available} and used index {used}");
        }
    }

    private static bool TryReadIndices(FrontendVring ring, GuestMemory memory, out ushort available, out ushort used)
    {
        available = used = 0;
        GuestAddress availableAt = new(ring.Settings.AvailableRing.Value + IndexOffset);
        GuestAddress usedAt = new(ring.Settings.UsedRing.Value + IndexOffset);
        if (!memory.HasArrived(availableAt, sizeof(ushort)) || !memory.HasArrived(usedAt, sizeof(ushort)))
            return false; // nobody has used it yet
        try
        {
            using GuestMemoryLease lease = memory.Acquire();
            return lease.TryRead(availableAt, out available) && lease.TryRead(usedAt, out used);
        }
        catch (ObjectDisposedException)
        {
            // The caller has let go of the memory already: there is nothing to compare with.
            return false;
        }
    }

    private static VhostUserProtocolException Wrong(FrontendVring ring, FormattableString why) =>
        new(VhostUserViolation.BadValue,
            string.Create(
                CultureInfo.InvariantCulture,
                $"VHOST_USER_GET_VRING_BASE: ring {ring.Index}: {why.ToString(CultureInfo.InvariantCulture)}. The ring is stopped."))
        {
            RequestCode = (uint)VhostUserRequest.GetVringBase,
        };
}
