using System.Runtime.InteropServices;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>All that the front-end said about a ring, taken together when the ring starts.</summary>
/// <param name="Index">Which queue.</param>
/// <param name="Size">Entries, as sent in SET_VRING_NUM.</param>
/// <param name="DescriptorTable">As sent in SET_VRING_ADDR: descriptor table, or descriptor ring.</param>
/// <param name="AvailableRing">As sent in SET_VRING_ADDR: available ring, or driver area.</param>
/// <param name="UsedRing">As sent in SET_VRING_ADDR: used ring, or device area.</param>
/// <param name="Base">As sent in SET_VRING_BASE.</param>
/// <param name="Features">The acknowledged features.</param>
/// <param name="DeviceReadsOnly">The device only reads what the driver puts into this queue; see <see cref="PackedChainWalker"/>.</param>
/// <param name="Owner">Whose queue it is, for the log: the back-end's name, where it was given one, and the connection.</param>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct VirtqueueSetup(
    int Index, uint Size, UserAddress DescriptorTable, UserAddress AvailableRing, UserAddress UsedRing, uint Base, VirtioFeatures Features,
    bool DeviceReadsOnly = false, string Owner = "back-end")
{
    /// <summary>Where a packed ring begins: position 0 on both sides, with both wrap counters set.</summary>
    internal const uint FreshPackedBase = 0x8000_8000;

    internal bool IsPacked => (Features & VirtioFeatures.RingPacked) != 0;

    /// <summary>The format of the ring, in a word.</summary>
    internal string Format => IsPacked ? "packed" : "split";

    /// <summary>
    /// Where a packed ring goes on. Several front-ends send only the low half; a used position of zero on turn zero cannot follow an available position
    /// that has its wrap counter set, so it stands for "the same".
    /// </summary>
    internal (PackedPosition Available, PackedPosition Used) PackedBase
    {
        get
        {
            ushort available = (ushort)Base;
            ushort used = (ushort)(Base >> 16);
            return (PackedPosition.FromWord(available, Size), PackedPosition.FromWord(used == 0 ? available : used, Size));
        }
    }
}
