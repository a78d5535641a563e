using System.Globalization;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Backend.Hosting;

/// <summary>A descriptor that the service manager has opened for this process, while nobody has taken it.</summary>
/// <param name="Number">Its number.</param>
/// <param name="Name">What the service manager calls it.</param>
internal sealed record PassedSocket(int Number, string Name)
{
    /// <summary>What it is.</summary>
    internal InheritedSocketKind Kind
    {
        get
        {
            using SafeFileHandle borrowed = Borrow();
            return InheritedSocket.Inspect(borrowed);
        }
    }

    /// <summary>The socket file, as a full path; null where there is none.</summary>
    internal string? Path
    {
        get
        {
            using SafeFileHandle borrowed = Borrow();
            return InheritedSocket.PathOf(borrowed) is { } path ? System.IO.Path.GetFullPath(path) : null;
        }
    }

    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture, $"descriptor {Number} '{Name}'{(Path is { } path ? $", which listens on {path}" : "")}");

    /// <returns>The caller's.</returns>
    internal SafeFileHandle Take() => new(Number, ownsHandle: true);

    internal void SetCloseOnExec()
    {
        using SafeFileHandle borrowed = Borrow();
        InheritedSocket.TrySetCloseOnExec(borrowed);
    }

    private SafeFileHandle Borrow() => new(Number, ownsHandle: false);
}
