using System.Runtime.InteropServices;

namespace Vhost.Protocol;

/// <summary>
/// The hosts that this library is for: Linux on x64 and arm64, little-endian. Elsewhere layouts of system calls, byte order of rings or the order of
/// memory would be wrong in silence, so whatever opens a connection, a notifier or memory asks here first.
/// </summary>
internal static class SupportedHost
{
    private static readonly string? _problem = ProblemOf(OperatingSystem.IsLinux(), RuntimeInformation.ProcessArchitecture, BitConverter.IsLittleEndian);

    /// <exception cref="PlatformNotSupportedException">The host is another one; one line says which.</exception>
    internal static void Require()
    {
        if (_problem is not null)
            throw new PlatformNotSupportedException(_problem);
    }

    /// <summary>Why a host is none of them, or null.</summary>
    internal static string? ProblemOf(bool linux, Architecture architecture, bool littleEndian)
    {
        if (linux && littleEndian && architecture is Architecture.X64 or Architecture.Arm64)
            return null;
        string system = linux ? "Linux" : "a system that is not Linux";
        string order = littleEndian ? "little-endian" : "big-endian";
        return $"vhost-user needs Linux on x64 or arm64, little-endian; this process runs on {system}, {architecture}, {order}.";
    }
}
