using System.Diagnostics.CodeAnalysis;
using System.Globalization;

namespace Vhost.Protocol;

/// <summary>
/// The contract of every message (vhost-user "Front-end message types", "Back-end message types"; vhost-user-gpu "Message types").
/// Validator, both halves, the text decoder, the documentation and the tests read these rows.
/// </summary>
public static class MessageContracts
{
    private static readonly MessageContract[] _main = MainContracts.Rows;
    private static readonly MessageContract[] _backend = BackendContracts.Rows;
    private static readonly MessageContract[] _gpu = GpuContracts.Rows;

    /// <summary>Every row: front-end requests 1 to 45, back-end requests 1 to 10, GPU requests 1 to 12.</summary>
    public static IReadOnlyList<MessageContract> All { get; } = [.. _main, .. _backend, .. _gpu];

    /// <summary>Looks up the contract of a front-end request.</summary>
    public static bool TryGet(VhostUserRequest request, [NotNullWhen(true)] out MessageContract? contract) =>
        TryGet(_main, (uint)request, out contract);

    /// <summary>Looks up the contract of a back-end request.</summary>
    public static bool TryGet(VhostUserBackendRequest request, [NotNullWhen(true)] out MessageContract? contract) =>
        TryGet(_backend, (uint)request, out contract);

    /// <summary>Looks up the contract of a GPU request.</summary>
    public static bool TryGet(VhostUserGpuRequest request, [NotNullWhen(true)] out MessageContract? contract) =>
        TryGet(_gpu, (uint)request, out contract);

    /// <summary>Looks up a contract by channel and code.</summary>
    public static bool TryGet(VhostUserChannel channel, uint code, [NotNullWhen(true)] out MessageContract? contract) => channel switch
    {
        VhostUserChannel.Main => TryGet(_main, code, out contract),
        VhostUserChannel.Backend => TryGet(_backend, code, out contract),
        _ => TryGet(_gpu, code, out contract),
    };

    /// <summary>The specification's name of a request; <c>unknown request 77</c> for a code that is not assigned. Never throws.</summary>
    public static string NameOf(VhostUserChannel channel, uint code) => TryGet(channel, code, out MessageContract? contract)
        ? contract.Name
        : string.Create(CultureInfo.InvariantCulture, $"unknown request {code}");

    /// <summary>The specification's name of a front-end request.</summary>
    public static string NameOf(VhostUserRequest request) => NameOf(VhostUserChannel.Main, (uint)request);

    /// <summary>The specification's name of a back-end request.</summary>
    public static string NameOf(VhostUserBackendRequest request) => NameOf(VhostUserChannel.Backend, (uint)request);

    // Codes are assigned from 1 without holes, so a row's place is its code less one; a test holds this.
    private static bool TryGet(MessageContract[] rows, uint code, [NotNullWhen(true)] out MessageContract? contract)
    {
        uint place = unchecked(code - 1);
        contract = place < (uint)rows.Length ? rows[place] : null;
        return contract is not null;
    }
}
