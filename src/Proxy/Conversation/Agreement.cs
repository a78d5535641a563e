using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Proxy;

/// <summary>What two peers have agreed on, as far as their messages on the main channel say. What is wrong with a message is for the peers to say; it changes nothing here.</summary>
internal sealed class Agreement
{
    /// <summary>Regions that are counted: no peer takes more.</summary>
    private const int MostRegions = 512;

    private readonly SortedDictionary<uint, ProxyRing> _rings = [];
    private readonly Dictionary<ulong, ulong> _memory = [];
    private ulong _memoryBytes;
    private NegotiatedState _state;

    /// <summary>The back-end has said in answer where it has memory, and the front-end not yet that it knows.</summary>
    private bool _awaitsConfirmation;

    /// <summary>Whether memory is being brought in by a postcopy migration: memory tables and regions are answered with addresses.</summary>
    internal bool IsPostcopy { get; private set; }

    internal NegotiatedState Negotiated => _state;

    internal IReadOnlyList<ProxyRing> Rings => [.. _rings.Values];

    internal (int Regions, ulong Bytes) Memory => (_memory.Count, _memoryBytes);

    /// <summary>Whether a front-end says the code of a memory table or region again, with 8 bytes, since it knows the addresses: that asks for nothing.</summary>
    internal bool IsConfirmation(ProxyMessage request) =>
        _awaitsConfirmation && request.Payload.Length == VhostUserU64.Size && (VhostUserRequest)request.Header.Request is VhostUserRequest.SetMemTable or VhostUserRequest.AddMemReg;

    /// <summary>What is different since a request was made.</summary>
    internal string Requested(ProxyMessage request)
    {
        if (IsConfirmation(request))
        {
            _awaitsConfirmation = false;
            return "addresses of memory confirmed";
        }

        ReadOnlySpan<byte> payload = request.Payload.Span;
        switch ((VhostUserRequest)request.Header.Request)
        {
            case VhostUserRequest.SetFeatures when VhostUserU64.TryRead(payload, out VhostUserU64 word):
                return Acknowledged((VirtioFeatures)word.Value);
            case VhostUserRequest.SetProtocolFeatures when VhostUserU64.TryRead(payload, out VhostUserU64 word):
                _state = _state with { Protocol = (VhostUserProtocolFeatures)word.Value };
                return $"acknowledged {FeatureNames.Describe(_state.Protocol)}";
            case VhostUserRequest.SetMemTable when VhostUserMemoryTable.TryRead(payload, out VhostUserMemoryTable table):
                return Replaced(table);
            case VhostUserRequest.AddMemReg or VhostUserRequest.RemMemReg when VhostUserSingleRegion.TryRead(payload, out VhostUserSingleRegion said):
                return Changed(said.Region, (VhostUserRequest)request.Header.Request == VhostUserRequest.AddMemReg);
            case VhostUserRequest.SetVringNum when VhostUserVringState.TryRead(payload, out VhostUserVringState said):
                return Set(said.Index, ring => ring with { Size = said.Num }, "");
            case VhostUserRequest.SetVringBase when VhostUserVringState.TryRead(payload, out VhostUserVringState said):
                return Set(said.Index, ring => ring with { Base = said.Num }, "");
            case VhostUserRequest.SetVringEnable when VhostUserVringState.TryRead(payload, out VhostUserVringState said):
                return Set(said.Index, ring => ring with { IsEnabled = said.Num != 0 }, said.Num != 0 ? "enabled" : "disabled");
            case VhostUserRequest.SetVringKick when VhostUserVringDescriptor.TryRead(payload, out VhostUserVringDescriptor said):
                return Set(said.Index, static ring => ring with { IsStarted = true }, "started");
            case VhostUserRequest.SetBackendReqFd:
                return "the back-end may ask";
            case VhostUserRequest.PostcopyListen when !request.Header.NeedsReply:
                IsPostcopy = true;
                return "";
            case VhostUserRequest.PostcopyEnd when !request.Header.NeedsReply:
                (IsPostcopy, _awaitsConfirmation) = (false, false);
                return "";
            case VhostUserRequest.ResetDevice or VhostUserRequest.ResetOwner:
                return Reset();
            default:
                return "";
        }
    }

    /// <summary>What is different since a request was answered.</summary>
    internal string Answered(ProxyMessage reply)
    {
        ReadOnlySpan<byte> payload = reply.Payload.Span;
        switch ((VhostUserRequest)reply.Header.Request)
        {
            case VhostUserRequest.GetFeatures when VhostUserU64.TryRead(payload, out VhostUserU64 word):
                _state = _state with { Offered = (VirtioFeatures)word.Value };
                return "";
            case VhostUserRequest.GetProtocolFeatures when VhostUserU64.TryRead(payload, out VhostUserU64 word):
                _state = _state with { OfferedProtocol = (VhostUserProtocolFeatures)word.Value };
                return "";
            case VhostUserRequest.GetVringBase or VhostUserRequest.GetVringBaseSkipDrain when VhostUserVringState.TryRead(payload, out VhostUserVringState said):
                return Set(said.Index, ring => ring with { Base = said.Num, IsStarted = false }, string.Create(CultureInfo.InvariantCulture, $"stopped at 0x{said.Num:x}"));
            case VhostUserRequest.PostcopyListen when VhostUserU64.TryRead(payload, out VhostUserU64 result) && result.Value == 0:
                IsPostcopy = true;
                return "";
            case VhostUserRequest.PostcopyEnd:
                (IsPostcopy, _awaitsConfirmation) = (false, false);
                return "";
            case VhostUserRequest.SetMemTable or VhostUserRequest.AddMemReg when IsPostcopy:
                _awaitsConfirmation = true;
                return "";
            default:
                return "";
        }
    }

    private string Acknowledged(VirtioFeatures features)
    {
        VirtioFeatures changed = _state.Features ^ features;
        _state = _state with { Features = features };
        return changed switch
        {
            VirtioFeatures.None => "",
            _ when (changed & ~features) == 0 => $"acknowledged {FeatureNames.Describe(changed)}",
            _ when (changed & features) == 0 => $"given back {FeatureNames.Describe(changed)}",
            _ => $"acknowledged {FeatureNames.Describe(changed & features)}, given back {FeatureNames.Describe(changed & ~features)}",
        };
    }

    private string Replaced(VhostUserMemoryTable table)
    {
        _memory.Clear();
        _memoryBytes = 0;
        for (int i = 0; i < table.Count; i++)
            Add(table[i]);
        return MemoryText();
    }

    private string Changed(VhostUserMemoryRegion region, bool added)
    {
        if (added)
            Add(region);
        else
            Remove(region);
        return MemoryText();
    }

    private void Add(VhostUserMemoryRegion region)
    {
        Remove(region);
        if (_memory.Count < MostRegions && _memory.TryAdd(region.GuestAddress.Value, region.Size))
            _memoryBytes = unchecked(_memoryBytes + region.Size);
    }

    private void Remove(VhostUserMemoryRegion region)
    {
        if (_memory.Remove(region.GuestAddress.Value, out ulong size))
            _memoryBytes = unchecked(_memoryBytes - size);
    }

    private string MemoryText() => string.Create(CultureInfo.InvariantCulture, $"memory of {Memory.Regions} regions, {Memory.Bytes >> 20} MiB");

    private string Reset()
    {
        foreach (uint index in _rings.Keys.ToArray())
            _rings[index] = _rings[index] with { IsStarted = false };
        return "all rings stopped";
    }

    private string Set(uint index, Func<ProxyRing, ProxyRing> change, string text)
    {
        if (index > byte.MaxValue)
            return ""; // no message about kicks could name it
        ProxyRing ring = _rings.TryGetValue(index, out ProxyRing known) ? known : new ProxyRing((int)index, 0, null, false, null);
        ProxyRing changed = change(ring);
        bool isNew = changed != ring;
        _rings[index] = changed;
        return isNew && text.Length > 0 ? string.Create(CultureInfo.InvariantCulture, $"ring {index} {text}") : "";
    }
}
